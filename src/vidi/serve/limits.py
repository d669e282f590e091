"""What a server takes at most, and how it says no.

Whoever reaches a server can send it anything. Each bound is checked before what it bounds is held in memory: requests
are counted before their bodies are read, bytes while they arrive, pixels before they are decoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from starlette.exceptions import HTTPException

MEBIBYTE = 2**20
MEGAPIXEL = 10**6


@dataclass(frozen=True)
class Limits:
    """The most that a server takes.

    Attributes:
        bytes: of the body of a request.
        pixels: of one picture.
        pictures: of one request.
        requests: that are read, wait or run at once; those beyond are told to come back.
        seconds: from the first byte of a request to its answer.
        samples: pictures that one request has made.
    """

    bytes: int = 32 * MEBIBYTE
    pixels: int = 40 * MEGAPIXEL
    pictures: int = 16
    requests: int = 64
    seconds: float | int = 60.0
    samples: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"received {field.name}={value}, expected more than 0")


class Refused(HTTPException):
    """A request that is not served, with the sentence that its sender reads."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, message, headers)


def too_many(limits: Limits) -> Refused:
    """Return the answer to a request beyond those that are served at once."""
    return Refused(503, f"{limits.requests} requests are being served: come back in a second", {"Retry-After": "1"})


def too_large(limits: Limits) -> Refused:
    """Return the answer to a body of too many bytes."""
    return Refused(413, f"received more than {limits.bytes} bytes, expected at most so many in a request")
