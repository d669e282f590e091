"""Files into models as if they were published, made here from a small network: found, checked, renamed, refused."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.weights.publishing import NAME, TO_PUBLISHED, publish
from vidi.backbones.resnet_cifar import resnet20
from vidi.model import Supervised
from vidi.weights import loading, published
from vidi.weights.loading import load_published, load_tensors
from vidi.weights.sources import Source
from vidi.weights.strict import load_strictly
from vidi.weights.tables.cifar_resnet import SOURCES


@pytest.fixture
def donor() -> Supervised:
    """A model that was "published"."""
    return resnet20()


@pytest.fixture
def publisher(tmp_path: Path, donor: Supervised, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The donor's weights as a file behind a url, in the table of published weights; the caches are empty."""
    return publish(donor, tmp_path, monkeypatch)


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())


def test_absent_file_says_where_to_get_it_and_where_to_put_it(publisher: Source, tmp_path: Path) -> None:
    model = resnet20()
    with pytest.raises(FileNotFoundError) as caught:
        load_published(model, NAME)
    assert publisher.url in str(caught.value)
    assert str(tmp_path / "weights" / "resnet20.th") in str(caught.value)
    assert f"(looked in {tmp_path / 'weights'}, {tmp_path / 'torch/hub/checkpoints'})" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=re.escape(f"(looked in {tmp_path / 'mine'}); put file://")):
        load_published(model, NAME, folder=tmp_path / "mine")


def test_download_only_when_asked(publisher: Source, donor: Supervised, tmp_path: Path) -> None:
    model = resnet20()
    load_published(model, NAME, download=True)
    assert equal(model.network, donor.network)
    assert model.preprocess.exact == (40, 40)
    assert (tmp_path / "weights" / "resnet20.th").is_file()
    again = resnet20()
    load_published(again, NAME)  # found now
    assert equal(again.network, donor.network)


@pytest.mark.parametrize("place", ["weights", "torch/hub/checkpoints"])
def test_files_are_found_where_the_documentation_says(
    publisher: Source, donor: Supervised, tmp_path: Path, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / "web" / "resnet20.th").rename(tmp_path / place / "resnet20.th")
    model = resnet20()
    load_published(model, NAME)
    assert equal(model.network, donor.network)


def test_folder_by_argument(publisher: Source, donor: Supervised, tmp_path: Path) -> None:
    model = resnet20()
    load_published(model, NAME, folder=tmp_path / "web")
    assert equal(model.network, donor.network)
    with pytest.raises(FileNotFoundError):
        load_published(model, NAME, folder=tmp_path / "elsewhere")


def test_unreachable_url(publisher: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(publisher, url=publisher.url.replace("resnet20.th", "gone.th"))
    monkeypatch.setitem(published.PUBLISHED, NAME, gone)
    with pytest.raises(ConnectionError, match=r"gone\.th"):
        load_published(resnet20(), NAME, download=True)


@pytest.mark.parametrize("download", [True, False])
def test_another_digest_is_refused(
    publisher: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    monkeypatch.setitem(published.PUBLISHED, NAME, replace(publisher, sha256="00000000"))
    folder = tmp_path / ("empty" if download else "web")
    with pytest.raises(ValueError, match="00000000"):
        load_published(resnet20(), NAME, folder=folder, download=download)
    assert not (tmp_path / "empty" / "resnet20.th").exists()


class Payload:
    def __reduce__(self) -> tuple:
        return (print, ("code ran",))


def test_code_in_a_file_is_refused(
    publisher: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "web" / "resnet20.th"
    torch.save({"state_dict": Payload()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(published.PUBLISHED, NAME, replace(publisher, sha256=digest))
    with pytest.raises(ValueError, match=r"resnet20\.th"):
        load_published(resnet20(), NAME, folder=path.parent)
    assert "code ran" not in capsys.readouterr().out


def test_part_keeps_the_new_head_and_the_size(publisher: Source, donor: Supervised, tmp_path: Path) -> None:
    model = resnet20(categories=3)
    model.preprocess = replace(model.preprocess, mean=(0.0, 0.0, 0.0))
    head = model.network.get_parameter("head.linear.weight").clone()
    load_published(model, NAME, part="backbone", folder=tmp_path / "web")
    assert equal(model.network.get_submodule("backbone"), donor.network.get_submodule("backbone"))
    assert torch.equal(model.network.get_parameter("head.linear.weight"), head)
    assert (model.preprocess.exact, model.preprocess.mean) == ((32, 32), publisher.preprocess.mean)


def test_a_network_without_the_part_is_refused(publisher: Source, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no neck of its own"):
        load_published(resnet20(), NAME, part="neck", folder=tmp_path / "web")


def test_what_does_not_fit_changes_nothing(publisher: Source, tmp_path: Path) -> None:
    model = resnet20(categories=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"head\.linear\.weight has shape \(10, 64\), expected \(3, 64\)"):
        load_published(model, NAME, folder=tmp_path / "web")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_missing_and_unexpected_tensors_are_named() -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="1 missing: bias; 1 unexpected: scale"):
        load_strictly(network, {"weight": torch.zeros(2, 2), "scale": torch.zeros(2)})


def test_only_the_counters_of_norms_may_be_missing() -> None:
    network = torch.nn.BatchNorm2d(3)
    state = {key: value + 1 for key, value in network.state_dict().items() if key != "num_batches_tracked"}
    load_strictly(torch.nn.Sequential(network), {f"0.{key}": value for key, value in state.items()})
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


def test_new_head_keeps_the_last_layer_and_takes_the_preprocessing(
    publisher: Source, donor: Supervised, tmp_path: Path
) -> None:
    model = resnet20(categories=3)
    model.preprocess = replace(model.preprocess, mean=(0.0, 0.0, 0.0))
    head = model.network.get_parameter("head.linear.weight").clone()
    load_published(model, NAME, new_head=True, folder=tmp_path / "web")
    assert equal(model.network.get_submodule("backbone"), donor.network.get_submodule("backbone"))
    assert torch.equal(model.network.get_parameter("head.linear.weight"), head)
    assert model.preprocess == publisher.preprocess


def test_own_size_takes_only_what_pixels_mean(publisher: Source, tmp_path: Path, monkeypatch) -> None:
    theirs = replace(publisher.preprocess, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), interpolation="bicubic")
    monkeypatch.setitem(published.PUBLISHED, NAME, replace(publisher, preprocess=theirs))
    model = resnet20(size=(24, 24))
    load_published(model, NAME, own_size=True, folder=tmp_path / "web")
    assert model.preprocess == replace(theirs, exact=(24, 24))


def test_a_package_may_ship_the_file(publisher: Source, donor: Supervised, tmp_path: Path, monkeypatch) -> None:
    package = tmp_path / "site" / "shipped_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "web" / "resnet20.th").rename(package / "models" / "resnet20.th")
    monkeypatch.setitem(published.PUBLISHED, NAME, replace(publisher, package="shipped_weights"))
    looked = r"checkpoints, the package shipped-weights\); put .* or install the package shipped-weights"
    with pytest.raises(FileNotFoundError, match=looked):
        load_published(resnet20(), NAME)
    monkeypatch.syspath_prepend(package.parent)
    model = resnet20()
    load_published(model, NAME)
    assert equal(model.network, donor.network)


def test_what_is_known_of_weights(publisher: Source, tmp_path: Path) -> None:
    row = {"name": "resnet20", "weights": "akamaster/cifar10", "score": {"top1": 91.73}, "licence": "BSD-2-Clause"}
    row |= {"url": publisher.url, "sha256": publisher.sha256}
    assert loading.describe_weights("resnet20") == [{**row, "path": None}]
    (tmp_path / "web").rename(tmp_path / "weights")
    assert loading.describe_weights("resnet20") == [{**row, "path": str(tmp_path / "weights" / "resnet20.th")}]


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ValueError, match="resnet50/torchvision/imagenet1k_v2"):
        load_published(resnet20(), "resnet50/torchvision/imagenet_v2")


def test_conversion_follows_the_renaming(donor: Supervised) -> None:
    """As detectors need it whose background moves from the first class to the last."""

    def reversed_classes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return tensors | {key: tensors[key].flip(0) for key in ("head.linear.weight", "head.linear.bias")}

    source = replace(SOURCES[NAME], convert=reversed_classes)
    model = resnet20()
    load_tensors(model, loading.renamed(donor.network.state_dict(), TO_PUBLISHED), source)
    bias = donor.network.get_parameter("head.linear.bias")
    assert torch.equal(model.network.get_parameter("head.linear.bias"), bias.flip(0))
