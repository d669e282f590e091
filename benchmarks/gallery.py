"""Queries among a million vectors, and adding some, against NumPy and faiss. `python -m benchmarks.gallery`."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import compare
from vidi.embedding.gallery_rows import Rows
from vidi.ops.exact_search import has_faiss, nearest_exactly

VECTORS, WIDTH, NEAREST = 1_000_000, 128, 10
ADDED = 100
BAR = 1.0


def unit_vectors(count: int, seed: int) -> Tensor:
    """Draw vectors of length 1."""
    drawn = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn)


def numpy_search(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Give the nearest rows as people write it: one matrix product, a partition, a sort of what is left."""
    squared = (vectors**2).sum(1) - 2 * queries @ vectors.T
    best = np.argpartition(squared, NEAREST, axis=1)[:, :NEAREST]
    order = np.take_along_axis(squared, best, 1).argsort(1)
    return np.take_along_axis(best, order, 1)


def lines() -> Iterator[str]:
    """Yield a row for one query, one for many, and one for adding."""
    torch.set_num_threads(1)
    vectors = unit_vectors(VECTORS, 0)
    rows = Rows(WIDTH)
    rows.add(vectors, 0, [f"{number:064x}" for number in range(VECTORS)])
    peers: dict[str, Callable[[np.ndarray], np.ndarray]] = {"numpy": lambda q: numpy_search(q, vectors.numpy())}
    searches = ["torch"]
    if has_faiss():
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatL2(WIDTH)
        index.add(vectors.numpy())
        peers["faiss, flat index"] = lambda q: index.search(q, NEAREST)[1]
        searches.append("faiss")

    for count in (1, 64):
        queries = unit_vectors(count, 1)
        asked = queries.numpy()
        for search in searches:

            def ours(search: str = search, queries: Tensor = queries) -> Tensor:
                return nearest_exactly(queries, rows.vectors, NEAREST, squares=rows.squares, search=search).places

            contestants: dict[str, Callable[[], object]] = {f"vidi by {search}": ours}
            for name, run in peers.items():
                np.testing.assert_array_equal(ours().numpy(), run(asked))
                contestants[name] = lambda run=run, asked=asked: run(asked)
            plural = "query" if count == 1 else "queries"
            found = compare(f"{count} {plural} by {search}, 1 M x {WIDTH}", contestants, rounds=5)
            for name in peers:
                yield found.line(name, BAR if name == "numpy" else None)

    numbers = iter(range(VECTORS, VECTORS + 100 * ADDED))
    new, plain = unit_vectors(ADDED, 2), vectors.numpy()

    def add() -> None:
        rows.add(new, 1, [f"{next(numbers):064x}" for _ in range(ADDED)])

    contestants = {"vidi": add, "numpy, concatenate": lambda: np.concatenate([plain, new.numpy()])}
    yield compare(f"{ADDED} more vectors beside 1 M", contestants, rounds=5).line("numpy, concatenate", BAR)


if __name__ == "__main__":
    for line in lines():
        print(line, flush=True)
