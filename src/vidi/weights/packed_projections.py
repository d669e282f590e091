"""Queries, keys and values that a publisher keeps in one matrix, as `torch.nn.MultiheadAttention` and timm do.

A rename table gives the packed tensor the name that `MultiHeadAttention` would have it under, `query_key_value`, and
`unpacked` is the step after it (`Layout.convert`).
"""

from vidi.weights.layouts import Tensors

PACKED = ".query_key_value."
PARTS = ("query", "key", "value")


def unpacked(tensors: Tensors) -> Tensors:
    """Cut every packed weight and bias, 3 D rows, into those of queries, keys and values, D rows each.

    Raises:
        ValueError: if the rows of one are no multiple of 3.
    """
    result: Tensors = {}
    for name, value in tensors.items():
        if PACKED not in name:
            result[name] = value
            continue
        if len(value) % 3:
            raise ValueError(f"{name} has {len(value)} rows, expected those of queries, keys and values")
        result |= {name.replace(PACKED, f".{part}."): rows for part, rows in zip(PARTS, value.chunk(3), strict=True)}
    return result
