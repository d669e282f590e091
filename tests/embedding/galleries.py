"""A gallery of five people, and what it is asked."""

from typing import Any

from torch import Tensor

from tests.embedding.losses import drawn
from vidi.embedding.gallery import Gallery
from vidi.ops.exact_search import has_faiss

NAMES = ("Ann", "Bob", "Cem", "Dora", "Eve")
CENTRES = 4 * drawn(5, 6)
QUERIES = CENTRES + 0.2 * drawn(5, 6, seed=2)
SEARCHES = ("torch", "faiss") if has_faiss() else ("torch",)


def filled(metric: str = "euclidean", pictures: int = 6, **options: Any) -> Gallery:
    """Return a gallery of five people with some pictures each."""
    made = Gallery(6, metric=metric, **options)
    for number, name in enumerate(NAMES):
        made.enrol(name, CENTRES[number] + 0.2 * drawn(pictures, 6, seed=10 + number))
    return made


def names_of(gallery: Gallery, queries: Tensor = QUERIES, **options: Any) -> list[str | None]:
    """Return whom each query shows."""
    return [answer.name for answer in gallery.query(queries, **options)]


def answers(gallery: Gallery, queries: Tensor, k: int) -> list[dict[str, Any]]:
    """Return all that a gallery says."""
    return [answer.to_dict() for answer in gallery.query(queries, k=k, weights="distance")]
