"""Rows of a matrix in blocks, where the whole would be too large to hold."""

LARGEST = 2**22
"""Numbers of a matrix that is held as a whole: 16 MiB of float32."""


def row_blocks(rows: int, columns: int) -> list[slice]:
    """Cut the rows of a matrix into slices of `LARGEST` numbers at most, or of one row; one slice where all fit."""
    block = max(LARGEST // max(columns, 1), 1)
    return [slice(start, min(start + block, rows)) for start in range(0, max(rows, 1), block)]
