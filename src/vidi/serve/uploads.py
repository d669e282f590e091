"""The pictures of a request: the files of a form, or the body itself. Only bytes are taken, no address and no path."""

from collections.abc import Sequence

from fastapi import Request
from starlette.datastructures import UploadFile

from vidi.files import ImageBytes
from vidi.serve.limits import Limits, Refused
from vidi.serve.served import Source

EXPECTED = "expected pictures: files of a form (multipart/form-data), or one file as the body (image/...)"
LONGEST_NAME = 200
MOST_FIELDS = 8
FIELD_BYTES = 4096


async def uploads(request: Request, limits: Limits) -> list[ImageBytes]:
    """Return the pictures of a request, in order.

    Raises:
        Refused: if there is none, or are too many, or there is something else in their place.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        data = await request.body()
        if not data:
            raise Refused(422, f"received an empty body, {EXPECTED}")
        return [ImageBytes("picture", data, limits.pixels)]
    if kind != "multipart/form-data":
        raise Refused(415, f"received {kind or 'no content type'}, {EXPECTED}")
    most = limits.pictures
    async with request.form(max_files=most + 1, max_fields=MOST_FIELDS, max_part_size=FIELD_BYTES) as form:
        parts = form.multi_items()
        texts = [name for name, part in parts if not isinstance(part, UploadFile)]
        if texts:
            raise Refused(422, f"received text as {', '.join(texts)}, {EXPECTED}; nothing is fetched from elsewhere")
        found = [part for _, part in parts if isinstance(part, UploadFile)]
        if len(found) > most:
            raise Refused(413, f"received more than {most} pictures, expected at most so many in a request")
        if not found:
            raise Refused(422, f"received a form without files, {EXPECTED}")
        return [
            ImageBytes((part.filename or "picture")[:LONGEST_NAME], await part.read(), limits.pixels) for part in found
        ]


def sources_of(pictures: Sequence[ImageBytes], *, pairs: bool) -> list[Source]:
    """Return what a model looks at one by one: pictures, or of a model of stereo pairs two by two."""
    if not pairs:
        return list(pictures)
    if len(pictures) % 2:
        raise Refused(422, f"received {len(pictures)} pictures, expected pairs: left, right, left, right ...")
    return list(zip(pictures[0::2], pictures[1::2], strict=True))
