"""What every request passes before anything looks at it: whose it is, how many there are, how large, how long.

It is plain ASGI, outside of routes and forms, so that a body is counted while it streams and never held beyond its
bound. A refusal is JSON like every other answer.
"""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

from vidi.serve.limits import Limits, Refused, too_large, too_many
from vidi.serve.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

FAULT = "this is a fault of vidi, not of what you sent; the server's log says more"

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
"""Of every answer: a page of this server loads nothing from elsewhere, and is shown in no other page."""

DRAINED = 8
"""Of a body that is too large so many times the bound is read and thrown away, so that its sender reads why."""

DRAINING = 10.0
"""Seconds for it."""


@dataclass
class Exchange:
    """One request and what has become of it so far."""

    received: int = 0
    is_received: bool = False
    status: int = 0


class Gate:
    """An application that refuses what is beyond its limits, and hands the rest on.

    Args:
        app: that answers.
        limits: of a request, and of all at once.
        metrics: hears of every request.
        token: that requests have to bear; None: they need not.
        open_paths: that need no token.
        hosts: names by which the server may be reached, without the port; None: any. A page of another site that has
            its name point here is one of another name.
        paths: that are counted by their name, the others as `other`.
    """

    def __init__(
        self,
        app: App,
        *,
        limits: Limits,
        metrics: Metrics,
        token: str | None = None,
        open_paths: Collection[str] = (),
        hosts: Collection[str] | None = None,
        paths: Collection[str] = (),
    ):
        self.app, self.limits, self.metrics = app, limits, metrics
        self.token, self.open_paths, self.hosts, self.paths = token, open_paths, hosts, paths
        self.running = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, exchange = time.perf_counter(), Exchange()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._drain(scope, receive, exchange)
                exchange.status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._passed(scope, receive, sending, exchange)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.add("vidi_requests_total", path=path, status=str(exchange.status))
            self.metrics.add("vidi_request_seconds", time.perf_counter() - start, path=path)

    async def _passed(self, scope: MutableMapping[str, Any], receive: Receive, send: Send, exchange: Exchange) -> None:
        """Run the application, or answer why not."""
        heavy = scope["method"] not in ("GET", "HEAD")
        counted = self._counted(receive, exchange)
        try:
            self._check(scope, exchange, heavy=heavy)
            self.running += heavy
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await self.app(scope, counted, send)
            finally:
                self.running -= heavy
        except Refused as refusal:
            await _refuse(scope, receive, send, exchange, refusal)
        except TimeoutError:
            status, what = (503, "the answer took") if exchange.is_received else (408, "the request took")
            refusal = Refused(status, f"{what} longer than {self.limits.seconds:g} s")
            await _refuse(scope, receive, send, exchange, refusal)
        except Exception:
            logging.getLogger("vidi").exception("%s %s", scope["method"], scope["path"])
            await _refuse(scope, receive, send, exchange, Refused(500, FAULT))

    def _check(self, scope: MutableMapping[str, Any], exchange: Exchange, *, heavy: bool) -> None:
        """Refuse by what a request's head says."""
        headers = Headers(scope=scope)
        if self.hosts is not None and _host(headers.get("host", "")) not in self.hosts:
            raise Refused(421, f"this server is reached as {' or '.join(sorted(self.hosts))}")
        if self.token is not None and scope["path"] not in self.open_paths:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.encode(), self.token.encode()):
                said = {"WWW-Authenticate": "Bearer"}
                raise Refused(401, "expected the header `Authorization: Bearer TOKEN` with the server's token", said)
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length) > self.limits.bytes:
            raise too_large(self.limits)
        if heavy and self.running >= self.limits.requests:
            raise too_many(self.limits)

    def _counted(self, receive: Receive, exchange: Exchange) -> Receive:
        """Return a way to receive a body that ends with a refusal where it becomes too large."""

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                exchange.received += len(message.get("body", b""))
                exchange.is_received = not message.get("more_body", False)
                if exchange.received > self.limits.bytes:
                    raise too_large(self.limits)
            return message

        return receiving

    async def _drain(self, scope: MutableMapping[str, Any], receive: Receive, exchange: Exchange) -> None:
        """Read what is still being sent and throw it away: a sender that is cut off does not read why.

        One that asks before it sends is told at once.
        """
        if Headers(scope=scope).get("expect", "").lower() == "100-continue" and not exchange.received:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAINING):
                while not exchange.is_received and exchange.received <= DRAINED * self.limits.bytes:
                    message = await receive()
                    exchange.received += len(message.get("body", b""))
                    exchange.is_received = not message.get("more_body", False)


def _host(header: str) -> str:
    """Return the name of a Host header without its port, in small letters."""
    if header.startswith("["):
        return header.partition("]")[0].lower() + "]"
    return header.partition(":")[0].lower()


async def _refuse(
    scope: MutableMapping[str, Any], receive: Receive, send: Send, exchange: Exchange, refusal: Refused
) -> None:
    """Answer with a refusal, if there is no answer yet."""
    if not exchange.status:
        answer = JSONResponse({"error": refusal.detail}, refusal.status_code, refusal.headers)
        await answer(scope, receive, send)
