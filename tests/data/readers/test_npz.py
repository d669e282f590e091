"""npz: grey and colour, class names, wrong labels, the real sets."""

import numpy as np
import pytest
import torch

from vidi.data.faults import DataFaults
from vidi.data.recognise import open_dataset, recognise

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2] * 4, dtype=np.uint8)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_grey_is_repeated_and_colour_is_turned(tmp_path):
    path = save(
        tmp_path / "a.npz", train_images=GREY, train_labels=LABELS, test_images=COLOUR, test_labels=LABELS[:, None]
    )
    train, test = open_dataset(path, "train"), open_dataset(tmp_path, "test")
    row = int(train.name(3).rpartition(" ")[2])
    assert torch.equal(train[3][0], torch.from_numpy(GREY[row]).expand(3, 5, 4))
    assert torch.equal(test[3][0], torch.from_numpy(COLOUR[3]).permute(2, 0, 1))
    assert train.categories == ("0", "1", "2")
    assert [int(test[index][1]["label"]) for index in range(4)] == [0, 1, 2, 0]
    assert test.name(3) == f"{path}, row 3"
    test[0][0].zero_()
    assert torch.equal(test[0][0], torch.from_numpy(COLOUR[0]).permute(2, 0, 1))


def test_unsplit_archives_are_divided(tmp_path):
    path = save(
        tmp_path / "a.npz",
        images=GREY[..., None],
        labels=LABELS.astype(np.int64),
        class_names=np.array(["x", "y", "z"]),
    )
    train, val = open_dataset(path, "train"), open_dataset(path, "val")
    assert len(train) + len(val) == 12
    assert len(val) > 0
    assert train.categories == ("x", "y", "z")
    row = int(train.name(len(train) - 1).rpartition(" ")[2])
    assert torch.equal(train[len(train) - 1][0][0], torch.from_numpy(GREY[row]))
    assert int(train[len(train) - 1][1]["label"]) == LABELS[row]


def test_unknown_classes_are_faults(tmp_path):
    labels = LABELS.astype(np.int64)
    labels[[2, 5]] = [7, -1]
    path = save(tmp_path / "a.npz", images=GREY, labels=labels, class_names=np.array(["x", "y", "z"]))
    with pytest.raises(
        DataFaults, match=r"a\.npz: labels, row 2: unknown class 7; the set has 3 classes, 0\.\.2"
    ) as caught:
        open_dataset(path, "all")
    assert [fault.where for fault in caught.value.faults] == ["labels, row 2", "labels, row 5"]
    dropped = open_dataset(path, "all", on_fault="drop")
    assert len(dropped) == 10
    assert torch.equal(dropped[2][0][0], torch.from_numpy(GREY[3]))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GREY.astype(np.float32), LABELS, r"images is float32 \(12, 5, 4\), expected uint8"),
        (COLOUR.transpose(0, 3, 1, 2), LABELS, r"expected uint8 N H W or N H W 3"),
        (GREY, LABELS[:5], "expected 12 whole numbers"),
        (GREY, LABELS.astype(np.float64), "labels is float64"),
        (GREY, LABELS.astype(np.int64) + 10**9, r"labels up to 1000000002 for 12 images"),
    ],
)
def test_wrong_arrays_are_errors(tmp_path, images, labels, message):
    with pytest.raises(ValueError, match=rf"a\.npz: .*{message}"):
        open_dataset(save(tmp_path / "a.npz", images=images, labels=labels), "all")


def test_several_archives_have_to_be_named(tmp_path):
    save(tmp_path / "a.npz", images=GREY, labels=LABELS)
    save(tmp_path / "b.npz", images=GREY, labels=LABELS)
    with pytest.raises(ValueError, match=r"several npz sets \(a\.npz, b\.npz\): name one"):
        recognise(tmp_path)


def test_a_tenth_of_every_class_of_train_is_held_out(tmp_path):
    labels = np.array([0] * 30 + [1] * 10 + [2] * 20)
    images = np.zeros((60, 4, 4), dtype=np.uint8)
    path = save(tmp_path / "a.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    sets = {split: open_dataset(path, split) for split in ("train", "val", "test")}
    counts = {split: np.bincount([int(d.target(row)["label"]) for row in range(len(d))]) for split, d in sets.items()}
    assert {split: count.tolist() for split, count in counts.items()} == {
        "train": [27, 9, 18],
        "val": [3, 1, 2],
        "test": [30, 10, 20],
    }
    rows = {sets[split].name(row) for split in ("train", "val") for row in range(len(sets[split]))}
    assert len(rows) == 60


@pytest.mark.parametrize(
    ("name", "split", "count", "size"),
    [
        ("mnist", "train", 8999, 28),
        ("mnist", "val", 999, 28),
        ("mnist", "test", 3000, 28),
        ("cifar10", "train", 4500, 32),
        ("cifar10", "val", 500, 32),
    ],
)
def test_the_real_sets(shared_data, name, split, count, size):
    dataset = open_dataset(shared_data / name, split)
    assert (len(dataset), len(dataset.categories)) == (count, 10)
    image, target = dataset[17]
    assert image.shape == (3, size, size)
    with np.load(shared_data / name / f"{name}.npz") as archive:
        source = "train" if split == "val" else split
        row = int(dataset.name(17).rpartition(" ")[2])
        assert int(target["label"]) == archive[f"{source}_labels"][row]
        pixels = torch.from_numpy(archive[f"{source}_images"][row])
    assert torch.equal(image, pixels.expand(3, size, size) if pixels.ndim == 2 else pixels.permute(2, 0, 1))


def test_the_lossless_cifar_images_are_opened_by_name(shared_data):
    assert "not used: cifar10_lossless_1000.npz" in recognise(shared_data / "cifar10").reason
    dataset = open_dataset(shared_data / "cifar10" / "cifar10_lossless_1000.npz", "all")
    assert (len(dataset), dataset.categories[0]) == (1000, "airplane")
