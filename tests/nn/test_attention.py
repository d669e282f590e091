"""Attention against torch's function and module; what masks, permutations and single queries must not change."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.closeness import EXACT, GRADIENTS, OUTPUTS, assert_close
from tests.parity.networks import assert_same_training, distance, randomise
from vidi.nn.attention import (
    KeysAndValues,
    MultiHeadAttention,
    attention_weights,
    causal_mask,
    fused_attention,
    recorded_attention,
    renormalized_attention_weights,
    scaled_dot_product_attention,
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def random_mask(*shape: int) -> Tensor:
    """Hide about half; every query sees something."""
    mask = torch.rand(*shape) < 0.5
    mask[..., 0] = True
    return mask


def with_gradients(run: Any, *inputs: Tensor) -> list[Tensor]:
    """Return the output and its gradients in every input, for one fixed direction."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    output = run(*leaves)
    direction = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(1))
    return [output, *torch.autograd.grad((output * direction).sum(), leaves)]


def assert_equal(received: list[Tensor], expected: list[Tensor], tolerance: float = 1e-12) -> None:
    for one, other in zip(received, expected, strict=True):
        assert_close(one, other, tolerance)


# ------------------------------------------------------------------------------------------------- without parameters


@pytest.mark.system("3.1.1-DOT")
def test_dot_product_attention_is_torchs_at_scale_one():
    x1, Y = random(1, 6), random(5, 6)
    received = with_gradients(lambda x, y: scaled_dot_product_attention(x, y, y, scale=1), x1, Y)
    expected = with_gradients(lambda x, y: F.scaled_dot_product_attention(x[None], y[None], y[None], scale=1)[0], x1, Y)
    assert_equal(received, expected)
    similarities = torch.stack([torch.exp(x1[0] @ y) for y in Y])
    by_hand = torch.stack([e * y for e, y in zip(similarities, Y, strict=True)]).sum(0) / similarities.sum()
    assert_close(received[0][0], by_hand)


@pytest.mark.system("3.1.1-SDPA")
@pytest.mark.parametrize("masking", ["none", "mask", "causal"])
def test_scaled_attention_is_torchs(masking: str):
    queries, keys, values = random(2, 3, 4, 8), random(2, 3, 4, 8), random(2, 3, 4, 5)
    mask = {"none": None, "mask": random_mask(2, 1, 4, 4), "causal": causal_mask(4)[None, None]}[masking]

    def theirs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if masking == "causal":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    expected = with_gradients(theirs, queries, keys, values)
    plain = with_gradients(lambda q, k, v: scaled_dot_product_attention(q, k, v, mask=mask), queries, keys, values)
    assert_equal(plain, expected)
    fused = with_gradients(lambda q, k, v: fused_attention(q, KeysAndValues(k, v), mask=mask), queries, keys, values)
    assert_equal(fused, expected)
    rows = attention_weights(queries, keys, mask=mask).sum(-1)
    assert_close(rows, torch.ones_like(rows))


@pytest.mark.system("3.1.1-SDPA", "B3.13")
def test_scale_gives_logits_unit_variance():
    """Worked example B3.13: the variance of products of unit normals is d_K, and 1 after the division."""
    width, count = 64, 1_000
    queries, keys = random(count, width), random(count, width)
    products = queries @ keys.T  # a million
    assert float(products.var()) == pytest.approx(width, rel=0.02)
    assert float((products / math.sqrt(width)).var()) == pytest.approx(1, rel=0.02)
    entropy = [
        float(torch.special.entr(attention_weights(queries, keys, scale=scale)).sum(-1).mean()) for scale in (1, None)
    ]
    assert entropy[0] < 1 < 6 < entropy[1] < math.log(count)  # nearly one-hot, nearly uniform


@pytest.mark.system("3.1.1-SDPA", "3.1.4-MASKED", "B3.14")
def test_one_query_equals_many_masked_queries():
    """Worked example B3.14: row i of the attention of N queries is the attention of query i alone."""
    queries, keys, values, mask = random(5, 8), random(7, 8), random(7, 3), random_mask(5, 7)
    together = scaled_dot_product_attention(queries, keys, values, mask=mask)
    for i in range(5):
        kept = mask[i].nonzero()[:, 0]
        alone = scaled_dot_product_attention(queries[i : i + 1], keys[kept], values[kept])
        assert_close(together[i : i + 1], alone)


@pytest.mark.system("3.1.4-MASKED", "B3.6")
def test_weights_set_to_zero_must_be_renormalised():
    """Worked example B3.6, erratum C3.4: without the division all rows but the last sum to less than 1."""
    queries, keys, mask = random(6, 8), random(6, 8), causal_mask(6)
    by_infinity = attention_weights(queries, keys, mask=mask)
    renormalised = with_gradients(lambda q, k: renormalized_attention_weights(q, k, mask), queries, keys)
    assert_equal(renormalised, with_gradients(lambda q, k: attention_weights(q, k, mask=mask), queries, keys))
    zeroed = attention_weights(queries, keys) * mask
    assert (zeroed.sum(-1)[:-1] < 0.999).all()
    assert float(zeroed[-1].sum()) == pytest.approx(1, rel=EXACT)
    assert distance(zeroed, by_infinity) > 0.1


def test_causal_mask_lets_the_last_query_see_all():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("N", "M"), [(4, 4), (2, 4), (1, 4)])
def test_fused_attention_aligns_the_last_query(N: int, M: int, causal: bool):
    queries, keys, values, mask = random(2, 3, N, 8), random(2, 3, M, 8), random(2, 3, M, 5), random_mask(2, 1, N, M)
    for extra in (None, mask):
        seen = torch.ones(N, M, dtype=torch.bool) if extra is None else extra
        seen = seen & causal_mask(N, M) if causal else seen
        received = fused_attention(queries, KeysAndValues(keys, values), mask=extra, causal=causal)
        assert_close(received, scaled_dot_product_attention(queries, keys, values, mask=seen))


# ------------------------------------------------------------------------------------------------------------ modules


def from_torch(module: nn.MultiheadAttention) -> Any:
    """Return the renaming of the module's tensors into ours, for its packed or separate projections."""

    def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = {"out_proj.weight": "output.weight", "out_proj.bias": "output.bias"}
        names |= {f"{kind[0]}_proj_weight": f"{kind}.weight" for kind in ("query", "key", "value")}
        renamed = {names[name]: value for name, value in state.items() if name in names}
        for packed, kind in (("in_proj_weight", "weight"), ("in_proj_bias", "bias")):
            if packed in state:
                parts = zip(("query", "key", "value"), state[packed].chunk(3), strict=True)
                renamed |= {f"{name}.{kind}": part for name, part in parts}
        return renamed

    return rename


def call_both(module: nn.Module, *inputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Run ours or torch's on queries, keys and values; torch's mask is True where nobody may look."""
    if isinstance(module, MultiHeadAttention):
        return module(*inputs, mask=mask)
    hidden = None if mask is None else (~mask).repeat_interleave(module.num_heads, dim=0)  # type: ignore[arg-type]
    queries, keys, values = (*inputs, *inputs[-1:] * 2)[:3]
    return module(queries, keys, values, attn_mask=hidden, need_weights=False)[0]


@pytest.mark.system("3.1.3-MHSA")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_multi_head_self_attention_is_torchs(bias: bool, masked: bool):
    theirs = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True)
    x, mask = random(2, 5, 12), random_mask(2, 5, 5) if masked else None
    ours = MultiHeadAttention(12, 3, bias=bias)
    assert_same_training(ours, theirs, from_torch(theirs), lambda m: call_both(m, x, mask=mask), training=True)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.system("3.1.1-SELF")
def test_self_attention_is_torchs_with_one_head():
    theirs = nn.MultiheadAttention(6, 1, batch_first=True)
    x = random(2, 5, 6)
    ours = MultiHeadAttention(6, 1)
    assert_same_training(ours, theirs, from_torch(theirs), lambda m: call_both(m, x), training=True)
    assert_equal([ours(x)], [ours(x, x, x)])


@pytest.mark.system("3.1.4-CROSS", "3.1.1-QKV")
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_is_torchs(masked: bool):
    theirs = nn.MultiheadAttention(12, 3, kdim=7, vdim=7, batch_first=True)
    x, Y, mask = random(2, 5, 12), random(2, 4, 7), random_mask(2, 5, 4) if masked else None
    ours = MultiHeadAttention(12, 3, context_width=7)
    assert_same_training(ours, theirs, from_torch(theirs), lambda m: call_both(m, x, Y, mask=mask), training=True)
    together = ours(x, Y, mask=mask)
    for i in range(5):  # queries do not depend on each other
        row = slice(i, i + 1)
        alone = ours(x[:, row], Y, mask=None if mask is None else mask[:, row])
        assert_close(together[:, row], alone)


def test_gradients_in_the_inputs_are_torchs():
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours = MultiHeadAttention(12, 3).double()
    randomise(theirs)
    ours.load_state_dict(from_torch(theirs)(theirs.state_dict()))
    inputs = random(2, 5, 12), random(2, 4, 12), random(2, 4, 12)
    received, expected = (with_gradients(lambda *x, m=module: call_both(m, *x), *inputs) for module in (ours, theirs))
    assert_equal(received, expected, min(OUTPUTS, GRADIENTS))


@pytest.mark.system("3.1.1-QKV", "3.1.3-MHSA")
def test_widths_of_heads_are_free():
    """Recompute the heads one by one, with the columns of W_Q, W_K, W_V and the rows of W_O that belong to each."""
    heads, key_width, value_width = 3, 4, 2
    ours = MultiHeadAttention(10, heads, context_width=7, key_width=key_width, value_width=value_width).double()
    assert [tuple(m.weight.shape) for m in (ours.query, ours.key, ours.value, ours.output)] == [
        (heads * key_width, 10),
        (heads * key_width, 7),
        (heads * value_width, 7),
        (10, heads * value_width),
    ]
    randomise(ours)
    x, Y = random(2, 5, 10), random(2, 4, 7)
    expected = ours.output.bias.expand(2, 5, 10)
    for h in range(heads):
        k, v = slice(h * key_width, (h + 1) * key_width), slice(h * value_width, (h + 1) * value_width)
        Q = x @ ours.query.weight[k].T + ours.query.bias[k]
        K = Y @ ours.key.weight[k].T + ours.key.bias[k]
        V = Y @ ours.value.weight[v].T + ours.value.bias[v]
        A = torch.softmax(Q @ K.mT / math.sqrt(key_width), dim=-1) @ V
        expected = expected + A @ ours.output.weight[:, v].T
    assert_close(ours(x, Y), expected)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width=10, heads=3"):
        MultiHeadAttention(10, 3)
    MultiHeadAttention(10, 3, key_width=4, value_width=4)


@pytest.mark.system("3.1.1-SDPA")
@pytest.mark.parametrize("causal", [False, True])
def test_recorded_weights_are_torchs(causal: bool):
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours = nn.ModuleDict({"attention": MultiHeadAttention(12, 3)}).double()
    ours["attention"].load_state_dict(from_torch(theirs)(theirs.state_dict()))
    x, mask = random(2, 5, 12), random_mask(2, 5, 5)
    unseen = ours["attention"](x, mask=mask, causal=causal)
    with recorded_attention(ours) as maps:
        seen = ours["attention"](x, mask=mask, causal=causal)
    mask = mask & causal_mask(5) if causal else mask
    _, weights = theirs(x, x, x, attn_mask=(~mask).repeat_interleave(3, dim=0), average_attn_weights=False)
    assert [w.shape for w in maps["attention"]] == [(2, 3, 5, 5)]
    assert_close(maps["attention"][0], weights)
    assert_close(seen, unseen)
    ours["attention"](x)
    assert len(maps["attention"]) == 1  # nothing is kept outside the block


@pytest.mark.system("3.1.5-PERMEQ", "B3.2")
def test_self_attention_is_equivariant_to_permutations():
    """Worked example B3.2, without positions; `tests/nn/test_positional.py` shows that positions break it."""
    ours = MultiHeadAttention(12, 3).double()
    x, order = random(2, 7, 12), torch.randperm(7)
    assert_close(ours(x[:, order]), ours(x)[:, order])
    mask = random_mask(2, 7, 7)
    permuted = mask[:, order][:, :, order]
    assert_close(ours(x[:, order], mask=permuted), ours(x, mask=mask)[:, order])


@pytest.mark.system("3.1.4-MASKED")
def test_nothing_leaks_through_the_causal_mask():
    ours = MultiHeadAttention(12, 3).double()
    x = random(1, 6, 12).requires_grad_()
    changed = x.detach().clone()
    changed[:, 4:] += 1
    assert torch.equal(ours(x, causal=True)[:, :4], ours(changed, causal=True)[:, :4])
    assert distance(ours(x)[:, :4], ours(changed)[:, :4]) > 1e-3  # without the mask it leaks
    (gradient,) = torch.autograd.grad(ours(x, causal=True)[:, 3].square().sum(), x)
    assert not gradient[:, 4:].any()
    assert gradient[:, :4].any(dim=-1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_that_may_look_nowhere_are_zero_with_finite_gradients(dtype: torch.dtype):
    queries, keys, values = (torch.randn(2, 3, 4, 16, dtype=dtype) for _ in range(3))
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[0, :, 1] = False  # one row
    mask[1] = False  # a whole image or sentence
    runs = (
        lambda q, k, v: scaled_dot_product_attention(q, k, v, mask=mask),
        lambda q, k, v: fused_attention(q, KeysAndValues(k, v), mask=mask),
    )
    for run in runs:
        output, *gradients = with_gradients(run, queries, keys, values)
        assert not output[0, :, 1].any()
        assert not output[1].any()
        assert output[0, :, 0].any()
        assert all(gradient.isfinite().all() for gradient in gradients)
        assert not gradients[0][1].any()
    weights = attention_weights(queries, keys, mask=mask)
    assert not weights[1].any()


@pytest.mark.parametrize("causal", [False, True])
def test_memory_is_linear_in_tokens_unless_weights_are_recorded(causal: bool):
    ours = MultiHeadAttention(16, 2)

    def kept(tokens: int) -> int:
        """Count the numbers that a forward pass keeps for the backward pass."""
        sizes: list[int] = []
        x = torch.randn(1, tokens, 16)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            ours(x, causal=causal)
        return sum(sizes)

    assert kept(512) < 2.1 * kept(256)
    with recorded_attention(ours):
        assert kept(512) > 3 * kept(256)


def test_dropout_takes_weights_away_in_training_only():
    ours = MultiHeadAttention(8, 2, dropout=0.5)
    x = torch.randn(1, 4, 8)
    expected = ours.eval()(x)
    assert torch.equal(ours(x), expected)
    ours.train()
    many = x.expand(2_000, -1, -1)  # each row of a batch drops weights of its own
    draws = ours(many).detach()
    assert distance(draws[0], draws[1]) > 1e-3
    assert distance(draws.mean(0), expected[0]) < 0.1 * float(draws.std(0).max())  # 4 standard errors
    with recorded_attention(ours):
        recorded = ours(many).detach()
    assert distance(recorded.std(0), draws.std(0)) < 0.1 * float(draws.std(0).max())
