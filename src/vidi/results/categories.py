"""What a result's labels are called."""

from collections.abc import Sequence

Categories = tuple[str | None, ...]
"""Names by class index; None marks an output that was never trained."""


def category_names(categories: int | Sequence[str | None]) -> Categories:
    """Return names by class index; a count K gives "class 0" .. "class K-1".

    Raises:
        TypeError: for a single string.
        ValueError: if there is no category, or none with a name.
    """
    if isinstance(categories, str):
        raise TypeError(f"received the string {categories!r}, expected a sequence of names or their count")
    names = tuple(f"class {k}" for k in range(categories)) if isinstance(categories, int) else tuple(categories)
    if all(name is None for name in names):
        raise ValueError(f"received {categories!r}, expected at least one named category")
    return names
