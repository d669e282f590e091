"""What commands that compare pictures share: a model that embeds, landmarks before it, and the vectors of pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from vidi.cli.failures import DATA, USAGE, fail, message_of
from vidi.cli.output import err
from vidi.engine.console import counting
from vidi.engine.runs import Run

Name = Annotated[str, typer.Argument(metavar="RUN|NAME", help="A run folder, or a model that embeds pictures.")]
Photos = Annotated[list[Path], typer.Argument(metavar="PHOTOS...", help="Pictures, or folders of them.")]
WhichWeights = Annotated[
    str | None, typer.Option("--weights", help="Of a run, `best` (the default) or `last`; of a model, a file.")
]
Landmarks = Annotated[
    Path | None,
    typer.Option("--landmarks", help="A run of face_landmarks_tiny: faces are found and turned upright before."),
]


AHEAD = 16
"""Pictures that are read, and embedded, together."""


@dataclass(frozen=True)
class Embedder:
    """A model that embeds pictures, what finds landmarks before it, and what its run says of distances."""

    model: Any
    finder: Any | None
    threshold: float | None  # the distance up to which its run takes two pictures for one identity
    fingerprint: str  # of both

    def results(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Any, Any]]:
        """Yield each path with its image and its result; without both, and a line of why, where there is none."""
        with counting(err) as progress:
            for start in range(0, len(paths), AHEAD):
                for number, (path, image, result) in enumerate(self._some(paths[start : start + AHEAD]), start + 1):
                    progress("pictures", number, len(paths))
                    if isinstance(result, Exception):
                        err.print(f"vidi: {message_of(result)}", markup=False, highlight=False)
                        yield path, None, None
                    else:
                        yield path, image, result

    def _some(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Any, Any]]:
        from vidi import api
        from vidi.ops.alignment import TEMPLATE_SIDE

        if self.finder is None:
            yield from api.predict_files(self.model, paths, ahead=AHEAD)
            return
        kept = self.model.preprocess
        size = kept.exact or kept.crop or (TEMPLATE_SIDE, TEMPLATE_SIDE)
        upright = dict(upright_faces(self.finder, paths, size))
        faces = [face for face in upright.values() if not isinstance(face, Exception)]
        found = api.predict_files(self.model, faces, ahead=AHEAD)
        for path, face in upright.items():
            yield (path, None, face) if isinstance(face, Exception) else (path, *next(found)[1:])


def upright_faces(finder: Any, paths: Sequence[Path], size: tuple[int, int]) -> Iterator[tuple[Path, Any]]:
    """Yield each path with its face on the template for pictures of a size (H, W), or with an error."""
    from vidi.detection.landmarks import find_landmarks
    from vidi.nn.inference import fuse_for_inference
    from vidi.ops.alignment import aligned_face
    from vidi.preprocess import unit_range

    finder = fuse_for_inference(finder)
    for path in paths:
        try:
            ((image, _),) = finder.samples([path])
        except (ValueError, OSError) as error:
            yield path, error
            continue
        (points,) = find_landmarks(finder, [image])
        if points is None:
            yield path, ValueError(f"{path}: no face was found")
        else:
            yield path, aligned_face(unit_range(image), points, size)


def embedder(name: str, weights: str | None, landmarks: Path | None = None, *, knows_texts: bool = False) -> Embedder:
    """Return a model that embeds pictures, and texts where they are asked for."""
    from vidi import api
    from vidi.embedding.fingerprint import fingerprint
    from vidi.model import Embeds
    from vidi.preprocess import Preprocess
    from vidi.recorded import is_run, task_of

    task = task_of(name)
    if knows_texts and task.name != "image_text":
        known = "what knows texts is a CLIP, see `vidi models --task image_text`"
        fail(USAGE, f"{name} is a system for {task.name}; {known}")
    if is_run(name) or weights is None:
        model = api.load_or_create(name, weights=weights)
    else:
        from vidi.weights.creation import create

        model = create(name, weights=weights)
    if not isinstance(model, Embeds):
        known = "what embeds pictures is listed by `vidi models --task identity` and `--task image_text`"
        fail(USAGE, f"{name} is a system for {task.name}; {known}")
    finder = None if landmarks is None else api.load(landmarks)
    if finder is not None and not isinstance(model.preprocess, Preprocess):
        fail(USAGE, f"{name} cuts its own parts out of faces; leave --landmarks away")
    if getattr(model.preprocess, "aligned", False) and finder is None:
        fail(USAGE, f"{name} embeds upright faces; say with --landmarks which run of face_landmarks_tiny finds them")
    known = fingerprint(model, *([] if finder is None else [finder]))
    if finder is not None:
        model.preprocess = replace(model.preprocess, aligned=False)
    threshold = api.scores_of(Run(Path(name))).get("threshold")
    return Embedder(model, finder, None if threshold is None else float(threshold), known)


def tell_broken(broken: int, total: int) -> None:
    """Leave with an error if pictures could not be read."""
    if broken:
        fail(DATA, f"{broken} of {total} pictures could not be read")
