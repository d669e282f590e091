"""Identities that come and go without a training: vectors by name, and whom a query shows (notes 7.1).

    enrol    name, vectors n D (several pictures)  -> rows at the end; nobody else's change
    query    vectors Q D -> the k nearest rows -> they vote -> the nearest must verify -> name, or a stranger
    remove   name -> its rows leave                   rename   old, new -> no row changes

Neighbours are exact (`vidi.ops.exact_search`), of equal ones the first enrolled is first; of names with equally many
votes the first enrolled wins. `save` and `Gallery.open` keep all this in a folder: `vidi.embedding.gallery_folder`.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vidi.embedding.gallery_folder import GalleryRecord, read_gallery, write_gallery
from vidi.embedding.gallery_rows import KEY_BYTES, Rows
from vidi.embedding.recognition import STRANGER, identified
from vidi.ops.exact_search import nearest_exactly
from vidi.ops.neighbours import METRICS, Neighbours, nearest
from vidi.ops.similarity import TINY, normalized
from vidi.results.recognition import Match, Recognition

LONGEST_NAME = 255


class Gallery:
    """Named vectors of one model.

    A row has a key, the digest of what it was made of: a picture is enrolled once.

    Args:
        width: D, how many numbers a vector has.
        metric: as for `vidi.ops.neighbours.distances`; by "cosine" vectors are kept with length 1.
        threshold: the largest distance of two pictures of one identity, as `vidi.metrics.verification.fit_threshold`
            finds it; None: whoever is nearest is taken for the query.
        model: what the vectors are of, such as `vidi.embedding.fingerprint.fingerprint(model)`.

    Raises:
        ValueError: for a width below 1, an unknown metric, or a threshold that is not a number.
    """

    def __init__(self, width: int, *, metric: str = "cosine", threshold: float | int | None = None, model: str = ""):
        if width < 1 or metric not in METRICS:
            raise ValueError(
                f"received width={width}, metric={metric!r}; expected 1 or more, and {' or '.join(METRICS)}"
            )
        self.width, self.metric, self.model = width, metric, model
        self.threshold = threshold
        self._names: dict[int, str] = {}  # by number, in the order of enrolment
        self._numbers: dict[str, int] = {}
        self._next = 0
        self._rows = Rows(width)
        self._manifest: str | None = None  # of the folder, as it was last read or written

    # ------------------------------------------------------------------------------------------------------- looking

    @property
    def threshold(self) -> float | None:
        """The largest distance of two pictures of one identity; None: there is no stranger."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float | int | None) -> None:
        if value is not None and math.isnan(value):
            raise ValueError("received a threshold that is not a number")
        self._threshold = None if value is None else float(value)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        """Yield the names in the order of enrolment."""
        return iter(self._names.values())

    def counts(self) -> dict[str, int]:
        """Return the number of vectors by name, in the order of enrolment."""
        numbers, found = self._rows.identities.unique(return_counts=True)
        known = dict(zip(numbers.tolist(), found.tolist(), strict=True))
        return {name: known[number] for number, name in self._names.items()}

    def owner(self, key: str) -> str | None:
        """Return the name under which the key is enrolled; None if it is not."""
        number = self._rows.owner(key)
        return None if number is None else self._names[number]

    def vectors(self, name: str | None = None) -> Float32[Tensor, "n D"]:
        """Return a copy of the vectors of a name, or of all rows, in the order of enrolment.

        Raises:
            ValueError: if nobody has the name.
        """
        rows = slice(None) if name is None else self._rows.identities == self._number(name)
        return self._rows.vectors[rows].clone()

    def names(self) -> list[str]:
        """Return the name of each row."""
        return [self._names[number] for number in self._rows.identities.tolist()]

    # ------------------------------------------------------------------------------------------------------ changing

    def enrol(self, name: str, vectors: Float[Tensor, "n D"], keys: Sequence[str] | None = None) -> int:
        """Add pictures of an identity, a new one or one that is there; return how many of them were not there yet.

        Args:
            name: of the identity.
            vectors: one for each picture.
            keys: hexadecimal SHA-256 of each picture; None: of the vectors. A key that the name has is left out.

        Raises:
            ValueError: for a name that is no line of text, vectors of another width or not finite, one of length 0
                where the metric is cosine, as many keys as there are no vectors, no vector at all, or a key that is
                enrolled under another name. Nothing is added then.
        """
        name = checked_name(name)
        found = self._checked(vectors)
        digests = _digests(found) if keys is None else [key.lower() for key in keys]
        if len(digests) != len(found) or any(len(key) != 2 * KEY_BYTES for key in digests):
            raise ValueError(f"received {len(digests)} keys, expected a SHA-256 for each of {len(found)} vectors")
        others = {owner for owner in map(self.owner, digests) if owner not in (None, name)}
        if others:
            raise ValueError(f"pictures of {name!r} are enrolled as {', '.join(map(repr, sorted(map(str, others))))}")
        new = {key: row for row, key in reversed([*enumerate(digests)]) if self.owner(key) is None}
        if not new:
            return 0
        number = self._numbers.get(name, self._next)
        if name not in self._numbers:
            self._names[number], self._numbers[name] = name, number
            self._next += 1
        order = sorted(new.values())
        self._rows.add(found[order], number, [digests[row] for row in order])
        return len(new)

    def remove(self, name: str) -> int:
        """Forget an identity; return how many vectors it had.

        Raises:
            ValueError: if nobody has the name.
        """
        number = self._number(name)
        del self._names[number], self._numbers[name]
        return self._rows.remove(number)

    def rename(self, name: str, new: str) -> None:
        """Give an identity another name.

        Raises:
            ValueError: if nobody has the name, somebody else has the new one, or that is no line of text.
        """
        number, new = self._number(name), checked_name(new)
        if self._numbers.get(new, number) != number:
            raise ValueError(f"there is somebody called {new!r}; remove or rename that one first")
        del self._numbers[name]
        self._names[number], self._numbers[new] = new, number

    # ------------------------------------------------------------------------------------------------------- queries

    def query(
        self,
        vectors: Float[Tensor, "Q D"],
        *,
        k: int = 1,
        weights: str = "uniform",
        threshold: float | int | None = None,
        search: str = "auto",
    ) -> list[Recognition]:
        """Say whom each vector shows.

        Args:
            vectors: of the gallery's model. By cosine, one of length 0 is at distance 1 from all.
            k: neighbours that vote; all where the gallery has fewer.
            weights: "uniform", or "distance": a neighbour counts 1 / distance.
            threshold: instead of the gallery's; infinity: nobody is a stranger.
            search: who finds neighbours by "euclidean" and "cosine", see `nearest_exactly`.

        Returns:
            One for each vector; in an empty gallery everybody is a stranger.

        Raises:
            ValueError: for vectors of another width or not finite, k below 1, or unknown weights.
        """
        if k < 1:
            raise ValueError(f"received k={k}, expected at least 1")
        queries = self._searched(vectors)
        if len(self) == 0:
            return [Recognition(None, 0.0, ())] * len(queries)
        if len(queries) == 0:
            return []
        near = self._nearest(queries, k, search)
        whose = self._rows.identities[near.places]
        votes = identified(
            near.distances, whose, weights=weights, threshold=self.threshold if threshold is None else threshold
        )
        return [
            Recognition(
                None if winner == STRANGER else self._names[winner],
                share,
                tuple(Match(self._names[n], d) for n, d in zip(numbers, distances, strict=True)),
            )
            for winner, share, numbers, distances in zip(
                votes.identities.tolist(), votes.shares.tolist(), whose.tolist(), near.distances.tolist(), strict=True
            )
        ]

    def _nearest(self, queries: Tensor, k: int, search: str) -> Neighbours:
        rows = self._rows
        if self.metric not in ("euclidean", "cosine"):
            return nearest(queries, rows.vectors, k, metric=self.metric)
        near = nearest_exactly(queries, rows.vectors, k, squares=rows.squares, search=search)
        if self.metric == "euclidean":
            return near
        # of unit vectors |a - b|^2 = 2 - 2 cos; without a direction the cosine is 0
        return near._replace(distances=torch.where(queries.any(1, keepdim=True), near.distances.square() / 2, 1.0))

    # -------------------------------------------------------------------------------------------------------- on disk

    def save(self, folder: str | Path) -> None:
        """Write the gallery; of one that was opened or saved there before, only what changed.

        Raises:
            FileExistsError: if there is another gallery.
            ValueError: if another process changed it since it was opened.
        """
        facts = GalleryRecord(self.model, self.width, self.metric, self.threshold, dict(self._names))
        self._manifest = write_gallery(folder, facts, self._rows, known=self._manifest)

    @classmethod
    def open(cls, folder: str | Path, *, model: str | None = None) -> "Gallery":
        """Read a gallery.

        Args:
            folder: that `save` wrote.
            model: what the vectors have to be of; None: of whatever model.

        Raises:
            FileNotFoundError: if there is no gallery.
            ValueError: if it is damaged, or of another model.
        """
        record, rows, manifest = read_gallery(folder)
        if model is not None and model != record.model:
            theirs = f"the model {record.model}, not of {model}"
            raise ValueError(f"{folder}: the vectors are of {theirs}: query it with the model that enrolled it")
        made = cls(record.width, metric=record.metric, threshold=record.threshold, model=record.model)
        made._names, made._rows, made._manifest = dict(record.names), rows, manifest
        made._numbers = {name: number for number, name in record.names.items()}
        made._next = max(record.names, default=-1) + 1
        return made

    # ------------------------------------------------------------------------------------------------------- checking

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            raise ValueError(f"nobody in the gallery is called {name!r}")
        return self._numbers[name]

    def _searched(self, vectors: Tensor) -> Float32[Tensor, "Q D"]:
        """Return vectors as they are searched for."""
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise ValueError(f"received vectors of shape {tuple(vectors.shape)}, expected (n, {self.width})")
        if not vectors.isfinite().all():
            raise ValueError("received a vector that is not finite")
        plain = vectors.detach().cpu().double()
        return (normalized(plain) if self.metric == "cosine" else plain).float()

    def _checked(self, vectors: Tensor) -> Float32[Tensor, "n D"]:
        """Return vectors as they are kept."""
        found = self._searched(vectors)
        if len(found) == 0:
            raise ValueError("received no vector, expected at least one")
        if self.metric == "cosine" and (torch.linalg.vector_norm(vectors, dim=1) <= TINY).any():
            raise ValueError("received a vector of length 0, which has no direction: it cannot be compared by cosine")
        return found


def checked_name(name: str) -> str:
    """Return a name without spaces around it.

    Raises:
        ValueError: if it is empty, longer than 255 letters, or more than a line.
    """
    plain = name.strip()
    if not plain or len(plain) > LONGEST_NAME or not plain.isprintable():
        raise ValueError(f"received the name {name!r}, expected a line of 1 to {LONGEST_NAME} letters")
    return plain


def _digests(vectors: Float32[Tensor, "n D"]) -> list[str]:
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in vectors.contiguous().numpy()]
