"""What no request passes: bytes counted while they stream, requests at once, time, token, names; and what is told."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from vidi.serve.gate import FAULT, Gate
from vidi.serve.limits import Limits
from vidi.serve.metrics import Metrics


class Counting:
    """An application that reads bodies, and knows how much of them it was given."""

    def __init__(self) -> None:
        self.given = 0
        self.began, self.let_go = threading.Event(), threading.Event()

    async def read(self, request: Request) -> Response:
        async for part in request.stream():
            self.given += len(part)
        return JSONResponse({"bytes": self.given})

    async def hold(self, request: Request) -> Response:
        await request.body()
        self.began.set()
        while not self.let_go.is_set():
            await asyncio.sleep(0.01)
        return JSONResponse({})

    async def look(self, request: Request) -> Response:
        return Response("<html>", media_type="text/html")


def gate(app: Counting, limits: Limits | None = None, metrics: Metrics | None = None, **options: Any) -> Gate:
    routes = [
        Route("/read", app.read, methods=["POST"]),
        Route("/hold", app.hold, methods=["POST"]),
        Route("/", app.look),
    ]
    inner: Any = Starlette(routes=routes)
    return Gate(inner, limits=limits or Limits(), metrics=metrics or Metrics(), **options)


def client(app: Counting, limits: Limits | None = None, **options: Any) -> TestClient:
    return TestClient(gate(app, limits, **options), raise_server_exceptions=False)


def test_a_body_that_says_that_it_is_too_large_is_not_handed_on() -> None:
    app = Counting()
    answer = client(app, Limits(bytes=1000)).post("/read", content=b"x" * 1001)
    assert answer.status_code == 413
    assert answer.json() == {"error": "received more than 1000 bytes, expected at most so many in a request"}
    assert app.given == 0
    assert client(app, Limits(bytes=1000)).post("/read", content=b"x" * 1000).json() == {"bytes": 1000}


def asgi(app: Gate, messages: list[dict[str, Any]], headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Send the messages of a POST one by one, and return what is answered."""
    sent: list[dict[str, Any]] = []
    coded = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": "/read", "raw_path": b"/read", "query_string": b""}
    scope |= {"headers": coded, "http_version": "1.1", "scheme": "http", "server": ("testserver", 80)}
    scope |= {"client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"}}

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def parts_of(count: int, size: int) -> list[dict[str, Any]]:
    return [{"type": "http.request", "body": b"x" * size, "more_body": row < count - 1} for row in range(count)]


def test_bytes_are_counted_while_they_stream_whatever_the_head_says() -> None:
    app = Counting()
    messages = parts_of(10, 400)
    sent = asgi(gate(app, Limits(bytes=1000)), messages, {"content-length": "5"})
    assert sent[0]["status"] == 413
    assert app.given == 800  # two parts; the third would be beyond
    assert messages == []  # the rest is read and thrown away, so that the sender reads the answer


def test_no_more_is_thrown_away_than_eight_times_what_is_allowed() -> None:
    messages = parts_of(100, 1000)
    sent = asgi(gate(Counting(), Limits(bytes=1000)), messages)
    assert sent[0]["status"] == 413
    assert len(messages) == 100 - 9


def test_who_asks_before_sending_is_told_without_sending() -> None:
    messages = parts_of(3, 1000)
    sent = asgi(gate(Counting(), Limits(bytes=1000)), messages, {"content-length": "3000", "expect": "100-continue"})
    assert sent[0]["status"] == 413
    assert len(messages) == 3


def test_requests_beyond_those_at_once_are_told_to_come_back_and_looking_is_no_such_request() -> None:
    app = Counting()
    with client(app, Limits(requests=1)) as caller:
        held: list[int] = []
        thread = threading.Thread(target=lambda: held.append(caller.post("/hold").status_code))
        thread.start()
        assert app.began.wait(30)
        refused = caller.post("/read", content=b"x")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": "1 requests are being served: come back in a second"}
        assert caller.get("/").status_code == 200
        app.let_go.set()
        thread.join()
        assert held == [200]
        assert caller.post("/read", content=b"x").status_code == 200


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    answer = client(Counting(), Limits(seconds=0.05)).post("/hold")
    assert answer.status_code == 503
    assert answer.json() == {"error": "the answer took longer than 0.05 s"}


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidi.serve.gate.DRAINING", 0.05)

    async def never() -> Any:
        await asyncio.sleep(60)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    app = gate(Counting(), Limits(seconds=0.05))
    scope = {"type": "http", "method": "POST", "path": "/read", "query_string": b"", "headers": [], "client": None}
    scope |= {"http_version": "1.1", "scheme": "http", "server": ("testserver", 80), "root_path": ""}
    asyncio.run(app(scope, never, send))
    assert sent[0]["status"] == 408
    assert b"the request took longer than 0.05 s" in sent[1]["body"]


def test_a_fault_is_told_without_where_it_arose_and_logged_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(*_: Any) -> None:
        raise RuntimeError("a secret of /home/ada")

    app = Gate(failing, limits=Limits(), metrics=Metrics())
    with caplog.at_level(logging.ERROR, "vidi"):
        answer = TestClient(app).post("/read")  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()) == (500, {"error": FAULT})
    assert "a secret of /home/ada" in caplog.text


def test_a_token_is_asked_for_but_on_open_paths() -> None:
    caller = client(Counting(), token="open sesame", open_paths=("/",))
    assert caller.get("/").status_code == 200
    for given in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic open sesame"}):
        refused = caller.post("/read", content=b"x", headers=given)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer TOKEN" in refused.json()["error"]
    assert caller.post("/read", content=b"x", headers={"Authorization": "Bearer open sesame"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("LOCALHOST", 200), ("[::1]:80", 200), ("evil.example:8000", 421), ("", 421)],
)
def test_a_name_that_somebody_else_has_point_here_is_refused(host: str, status: int) -> None:
    caller = client(Counting(), hosts={"127.0.0.1", "localhost", "[::1]"})
    assert caller.get("/", headers={"Host": host}).status_code == status


def test_every_answer_forbids_to_load_from_elsewhere() -> None:
    caller = client(Counting(), token="x", open_paths=("/",))
    for answer in (
        caller.get("/"),
        caller.post("/read"),
        caller.get("/nothing", headers={"Authorization": "Bearer x"}),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_requests_are_counted_by_known_paths_and_status() -> None:
    metrics = Metrics()
    caller = client(Counting(), metrics=metrics, paths=("/",))
    for path in ("/", "/", "/one", "/another"):
        caller.get(path)
    text = metrics.text()
    assert 'vidi_requests_total{path="/",status="200"} 2' in text
    assert 'vidi_requests_total{path="other",status="404"} 2' in text
    assert 'vidi_request_seconds_count{path="/"} 2' in text


@pytest.mark.parametrize("name", ["bytes", "pixels", "pictures", "requests", "seconds", "samples"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"received {name}=0, expected more than 0"):
        Limits(**{name: 0})


def test_the_limits_are_by_default() -> None:
    assert Limits() == Limits(bytes=33554432, pixels=40000000, pictures=16, requests=64, seconds=60, samples=64)
