"""Members of a family of builders: as if each were written out."""

import inspect
from typing import Any, get_type_hints

import pytest
from torch import nn

from tests.engine.tiny import PositivesCriterion, tiny
from vidi.model import Supervised, builder, of_family, with_defaults
from vidi.preprocess import Preprocess

WIDTHS = {"net_small": 2, "net_large": 4, "net_plain": 2}


def net(name: str, *, bias: bool = True, size: tuple[int, int] | None = None) -> Supervised:
    """Build a network by its name in `WIDTHS`.

    Its weights are random.

    Args:
        bias: whether it has one.
        size: (H, W) of images.
    """
    network = nn.Conv2d(3, WIDTHS[name], 1, bias=bias)
    return Supervised(network, PositivesCriterion(0.0), tiny().decode, Preprocess(exact=size))


net_small = of_family(net, "net_small", "8 parameters")
net_large = of_family(net, "net_large", "12 parameters, without bias", "tests.elsewhere", bias=False)

net_plain = of_family(net, "net_plain", "of any size", without=("bias",), size=(8, 8))

net_square = with_defaults(net_large, "net_square", "for images of 8 pixels", size=(8, 8))


@builder
def written_out(*, bias: bool = False, size: tuple[int, int] | None = None) -> Supervised:
    return net("net_large", bias=bias, size=size)


def test_a_member_has_the_signature_and_types_of_a_function_that_is_written_out() -> None:
    assert inspect.signature(net_large) == inspect.signature(written_out)
    assert get_type_hints(net_large) == get_type_hints(written_out)
    assert [*get_type_hints(net_large)] == ["bias", "size", "return"]
    assert inspect.signature(net_small).parameters["bias"].default is True


def test_a_member_knows_its_name_and_where_it_stands() -> None:
    assert (net_small.__name__, net_small.__qualname__) == ("net_small", "net_small")
    assert (net_small.__module__, net_large.__module__) == (__name__, "tests.elsewhere")
    assert net.__name__ == "net"


def test_its_docstring_says_what_is_its_own_and_explains_the_arguments_of_the_family() -> None:
    first, rest = (inspect.getdoc(net_large) or "").split("\n", 1)
    assert first == "Build net_large: 12 parameters, without bias."
    assert rest == (inspect.getdoc(net) or "").split("\n", 1)[1]
    assert "bias: whether it has one." in rest


def test_a_model_records_the_members_name_and_all_arguments_in_order() -> None:
    model = net_large(size=(8, 8))
    assert model.origin is not None
    name, arguments = model.origin
    assert (name, [*arguments.items()]) == ("net_large", [("bias", False), ("size", (8, 8))])
    assert model.network.bias is None
    assert net_large(bias=True).origin == ("net_large", {"bias": True, "size": None})
    assert net_small().origin == ("net_small", {"bias": True, "size": None})
    assert net_small().network.get_parameter("weight").shape == (2, 3, 1, 1)


def test_models_are_built_in_evaluation_mode() -> None:
    assert not any(module.training for module in net_small().modules())


@pytest.mark.parametrize("arguments", [((), {"colour": 1}), (("net_large",), {}), ((), {"name": "net_large"})])
def test_other_arguments_are_refused(arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    positional, named = arguments
    with pytest.raises(TypeError, match=r"unexpected keyword|positional"):
        net_small(*positional, **named)


def test_a_default_of_an_argument_that_the_family_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="incorrect arguments"):
        of_family(net, "net_small", "8 parameters", colour=1)


def test_a_builder_with_other_defaults_is_like_the_first_but_for_them() -> None:
    assert inspect.signature(net_square).parameters.keys() == inspect.signature(net_large).parameters.keys()
    assert [p.default for p in inspect.signature(net_square).parameters.values()] == [False, (8, 8)]
    assert get_type_hints(net_square) == get_type_hints(net_large)
    assert (net_square.__name__, net_square.__module__) == ("net_square", "tests.elsewhere")
    first, rest = (inspect.getdoc(net_square) or "").split("\n", 1)
    assert first == "Build net_square: for images of 8 pixels."
    assert rest == (inspect.getdoc(net_large) or "").split("\n", 1)[1]
    model = net_square(bias=True)
    assert model.origin == ("net_square", {"bias": True, "size": (8, 8)})
    assert model.preprocess.exact == (8, 8)
    assert net_square(size=None).origin == ("net_square", {"bias": False, "size": None})
    assert net_large().origin == ("net_large", {"bias": False, "size": None})
    with pytest.raises(TypeError, match="unexpected keyword"):
        net_square(colour=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="incorrect arguments"):
        with_defaults(net_large, "net_square", "coloured", colour=1)


def test_a_member_can_do_without_an_argument_which_keeps_its_default() -> None:
    assert [*inspect.signature(net_plain).parameters] == [*get_type_hints(net_plain)][:-1] == ["size"]
    documented = inspect.getdoc(net_plain) or ""
    assert "bias:" not in documented
    assert "size: (H, W) of images." in documented
    assert net_plain().origin == ("net_plain", {"size": (8, 8)})
    assert net_plain().network.bias is not None
    with pytest.raises(TypeError, match="unexpected keyword argument 'bias'"):
        net_plain(bias=False)
    with pytest.raises(ValueError, match="received colour to do without, expected arguments that net explains"):
        of_family(net, "net_wrong", "wrong", without=("colour",))
