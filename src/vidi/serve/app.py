"""The routes: pictures in, results out, and a page to look at them.

    POST /predict    one or several pictures -> what was found, as JSON; or the picture with it drawn
    POST /embed      one or several pictures -> a vector for each
    POST /sample     a count, a seed, conditions -> pictures
    GET  /models     what is served, and what it can be asked for
    GET  /healthz    200 as long as requests are answered
    GET  /metrics    counts and durations, as text for Prometheus
    GET  /           the page

Pictures are the bytes of files, as a form of files or as the body itself: no address and no path is ever followed.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from vidi import files
from vidi.serve import answers
from vidi.serve.batching import ClosedError
from vidi.serve.documented import DRAWN, EMBEDDED, FOUND, MADE, MODELS, PICTURES
from vidi.serve.gate import FAULT, Gate
from vidi.serve.limits import Limits, Refused
from vidi.serve.metrics import Metrics
from vidi.serve.served import Prepared, Served, Source
from vidi.serve.uploads import sources_of, uploads

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("page.js", "overlay.js", "making.js", "server.js", "elements.js")
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{name}": (name, "text/javascript; charset=utf-8") for name in SCRIPTS},
}
LEFT = 499
"""The status of a request whose sender has hung up, as nginx counts it."""

DECODERS = 4
"""Threads that decode, resize, draw and encode."""

Model = Annotated[str | None, Query(description="One of /models; the first by default.", examples=["cells"])]
Share = Annotated[float | None, Query(ge=0, le=1, description="The least score; the model's own by default.")]
Kind = Annotated[Literal["json", "png", "jpeg"], Query(description="Numbers, or the picture with them drawn.")]
Maps = Annotated[
    int | None, Query(ge=1, description="Add maps (classes, depth), with at most so many pixels on the longer side.")
]
Focal = Annotated[float | None, Query(gt=0, description="Depth: the focal length in pixels, instead of EXIF's.")]
Angle = Annotated[float | None, Query(gt=0, lt=180, description="Depth: the angle that the width shows, degrees.")]
Baseline = Annotated[float | None, Query(gt=0, description="Stereo: metres between the two cameras.")]


class Wish(BaseModel):
    """What `/sample` is asked for."""

    model: str | None = Field(None, description="One of /models; the first by default.")
    count: int = Field(1, ge=1, description="How many pictures.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of the first; the others have the next ones.")
    conditions: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="As /models lists them, such as guidance, steps or a prompt."
    )


class Server:
    """The models behind the routes, and the threads that prepare pictures for them.

    Args:
        models: at least one, of different names.
        limits: of requests.
        metrics: that the models count in.
    """

    def __init__(self, models: Sequence[Served], limits: Limits, metrics: Metrics):
        names = [served.name for served in models]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"received the models {', '.join(names) or 'none'}, expected some of different names")
        self.models, self.limits, self.metrics = {served.name: served for served in models}, limits, metrics
        self.pool = ThreadPoolExecutor(DECODERS, "pictures")
        metrics.watch(
            "vidi_queue",
            "Pictures that wait for a model.",
            lambda: {(("model", name),): len(served.batches) for name, served in self.models.items()},
        )

    def find(self, name: str | None, verb: str) -> Served:
        """Return the model of a name, or the first that can do what it is asked for."""
        able = [served for served in self.models.values() if verb in served.does]
        if name is not None and name not in self.models:
            raise Refused(404, f"received the model {name!r}, expected one of {', '.join(self.models)}")
        chosen = self.models[name] if name is not None else next(iter(able), None)
        if chosen is None or chosen not in able:
            known = f"expected one of {', '.join(served.name for served in able)}" if able else "and no other one does"
            raise Refused(409, f"{name or 'this server'} does not {verb}, {known}")
        return chosen

    async def aside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run something in a thread that prepares pictures."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    async def each(
        self, served: Served, sources: Sequence[Source], answer: Callable[[Source], Awaitable[Any]]
    ) -> list[Any]:
        """Return an answer for each picture, or what is wrong with it; refuse a request of which nothing is right."""
        rows = await asyncio.gather(*(self._one(served, source, answer) for source in sources))
        wrong = [row["error"] for row in rows if isinstance(row, dict) and "error" in row]
        for outcome, count in (("error", len(wrong)), ("ok", len(rows) - len(wrong))):
            if count:
                self.metrics.add("vidi_pictures_total", count, model=served.name, outcome=outcome)
        if len(wrong) == len(rows):
            raise Refused(422, "; ".join(wrong))
        return list(rows)

    async def _one(self, served: Served, source: Source, answer: Callable[[Source], Awaitable[Any]]) -> Any:
        try:
            return await answer(source)
        except (ValueError, TypeError) as error:
            return {"image": answers.name_of(source), "error": str(error)}

    async def predicted(self, served: Served, source: Source, known: Mapping[str, Any]) -> tuple[Prepared, Any]:
        """Return a picture as the model saw it, and its result."""
        with served.batches.announced():
            prepared = await self.aside(served.prepare, source, known)
            waiting = served.predict(prepared)
        return prepared, await asyncio.wrap_future(waiting)

    async def close(self) -> None:
        """Let what is in the queues be answered, and end the threads."""
        for served in self.models.values():
            await asyncio.to_thread(served.batches.close)
        self.pool.shutdown()


def make_app(
    models: Sequence[Served],
    *,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    token: str | None = None,
    hosts: Collection[str] | None = None,
) -> Gate:
    """Return the application that serves models, for any ASGI server.

    Args:
        models: at least one.
        limits: of requests.
        metrics: that the models count in.
        token: that requests have to bear as `Authorization: Bearer TOKEN`, but for the page and `/healthz`.
        hosts: names by which the server may be reached; None: any.
    """
    limits, metrics = limits or Limits(), metrics or Metrics()
    server = Server(models, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await server.close()

    app = FastAPI(
        title="vidi",
        summary="Pictures in, results out.",
        version=version("vidi"),
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
    )
    add_errors(app)
    add_looking(app, server)
    add_making(app, server)
    add_watching(app, server)
    paths = (*PAGES, "/predict", "/embed", "/sample", "/models", "/healthz", "/metrics", "/openapi.json")
    open_paths = (*PAGES, "/healthz")
    return Gate(app, limits=limits, metrics=metrics, token=token, open_paths=open_paths, hosts=hosts, paths=paths)


def add_errors(app: FastAPI) -> None:
    """Have every error be a sentence in JSON, and none a stack trace."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(ClosedError)
    async def closed(_: Request, error: ClosedError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503)

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, error: ClientDisconnect) -> Response:  # nobody reads it, and it is no fault
        return Response(status_code=LEFT)

    @app.exception_handler(RequestValidationError)
    async def misspelt(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = (f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors())
        return JSONResponse({"error": "; ".join(faults)}, 422)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:  # the gate logs it
        return JSONResponse({"error": FAULT}, 500)


def add_looking(app: FastAPI, server: Server) -> None:
    """Add the routes that take pictures."""

    @app.post("/predict", openapi_extra=PICTURES, responses={200: {**FOUND, **DRAWN}})
    async def predict(
        request: Request,
        model: Model = None,
        threshold: Share = None,
        format: Kind = "json",  # the name that people type
        maps: Maps = None,
        focal_px: Focal = None,
        fov: Angle = None,
        baseline: Baseline = None,
    ) -> Response:
        """Say what is on pictures: files of a form, in the order of the answer, or one file as the body.

        A picture that cannot be read has an `error` in its place; where that holds for all of them the status is 422.
        A model of stereo pairs takes left, right, left, right ...
        """
        served = server.find(model, "predict")
        given = {"focal_px": focal_px, "fov": fov, "baseline": baseline}
        known = _taken(served, {key: value for key, value in given.items() if value is not None})
        sources = sources_of(await uploads(request, server.limits), pairs=served.looks_at_pairs)
        if format != "json":
            return await draw(served, sources, known, threshold, format)

        async def answer(source: Source) -> Any:
            prepared, result = await server.predicted(served, source, known)
            return await server.aside(answers.answer_of, source, prepared, result, threshold, maps)

        rows = await server.each(served, sources, answer)
        least = served.model.shown_from if threshold is None else threshold  # type: ignore[attr-defined]
        return JSONResponse({"model": served.name, "threshold": least, "results": rows})

    async def draw(
        served: Served, sources: Sequence[Source], known: Mapping[str, Any], threshold: float | None, kind: str
    ) -> Response:
        if len(sources) != 1:
            raise Refused(422, f"received {len(sources)} pictures, expected one where its drawing is asked for")

        async def answer(source: Source) -> Any:
            _, result = await server.predicted(served, source, known)
            return await server.aside(answers.drawn, result, threshold, kind)

        (data,) = await server.each(served, sources, answer)
        return Response(data, media_type=answers.MEDIA[kind])

    @app.post("/embed", openapi_extra=PICTURES, responses={200: EMBEDDED})
    async def embed(request: Request, model: Model = None) -> Response:
        """Return a vector for each picture; pictures as for /predict."""
        served = server.find(model, "embed")
        sources = sources_of(await uploads(request, server.limits), pairs=served.looks_at_pairs)

        async def answer(source: Source) -> Any:
            if served.predictor is None:
                vector = await asyncio.wrap_future(served.embed(source))
            else:
                vector = (await server.predicted(served, source, {}))[1].vector
            return {"image": answers.name_of(source), "vector": vector.tolist()}

        return JSONResponse({"model": served.name, "results": await server.each(served, sources, answer)})


def add_making(app: FastAPI, server: Server) -> None:
    """Add the route that makes pictures."""

    @app.post("/sample", responses={200: MADE})
    async def sample(wish: Wish) -> Response:
        """Make pictures; equal seeds give equal ones."""
        served = server.find(wish.model, "sample")
        if wish.count > server.limits.samples:
            raise Refused(422, f"received count={wish.count}, expected at most {server.limits.samples}")
        try:
            waiting = served.sample(wish.count, wish.seed, wish.conditions, server.limits.seconds)
            images = await asyncio.wrap_future(waiting)
            rows = await server.aside(answers.made, images, wish.seed, served, wish.conditions)
        except (ValueError, TypeError) as error:
            raise Refused(422, str(error)) from None
        except TimeoutError as error:
            raise Refused(503, str(error)) from None
        return JSONResponse({"model": served.name, "images": rows})


def add_watching(app: FastAPI, server: Server) -> None:
    """Add the routes that say how the server is, and the page."""

    @app.get("/models", responses={200: MODELS})
    async def models() -> Response:
        """Say what is served, and what it can be asked for."""
        rows = [answers.described(served, server.limits) for served in server.models.values()]
        limits = {"bytes": server.limits.bytes, "pixels": server.limits.pixels, "pictures": server.limits.pictures}
        return JSONResponse({"models": rows, "limits": limits})

    @app.get("/healthz")
    async def health() -> Response:
        """Say whether requests are answered."""
        stopped = [name for name, served in server.models.items() if not served.batches.is_running]
        if stopped:
            return JSONResponse({"error": f"stopped: {', '.join(stopped)}"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counts and durations."""
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    for path, (name, kind) in PAGES.items():
        data = files.read_bytes(PAGE / name)
        app.get(path, include_in_schema=False)(_shown(data, kind))


def _shown(data: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        return Response(data, media_type=kind)

    return page


def _taken(served: Served, known: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is known of pictures besides; refuse what the model does not take."""
    unknown = [key for key in known if key not in served.knows]
    if unknown:
        takes = ", ".join(served.knows) or "pictures alone"
        raise Refused(422, f"received {', '.join(unknown)}, expected {takes} for {served.name}")
    return known


logging.getLogger("python_multipart").setLevel(logging.WARNING)  # it tells of every part of a form
