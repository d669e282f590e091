"""A run, or several, behind an HTTP interface and a page to look at what they find."""

import importlib.util
import logging
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from vidi.cli.failures import USAGE, fail, tells
from vidi.cli.output import err, out

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PARTS = ("fastapi", "uvicorn", "python_multipart")  # of the extra [serve]
PATIENCE = 0.5  # seconds beyond those of a request that a stop waits for


@tells
def serve(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN|NAME...", help="Run folders, or models with published weights.")
    ],
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 is for everybody who reaches this machine.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Where to listen; 0 is any that is free.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(help="What requests have to bear: `Authorization: Bearer TOKEN`.", envvar="VIDI_TOKEN"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Of runs, `best` (the default) or `last`; of a model, a name or a file.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch published weights that are not here.")] = False,
    batch: Annotated[int, typer.Option(help="Pictures of equal canvas that share a batch.", min=1)] = 16,
    wait_ms: Annotated[float, typer.Option(help="How long a batch waits for pictures that are coming.", min=0)] = 4,
    megabytes: Annotated[float, typer.Option(help="The largest request, 2^20 bytes.", min=0.001)] = 32,
    megapixels: Annotated[float, typer.Option(help="The largest picture.", min=0.001)] = 40,
    pictures: Annotated[int, typer.Option(help="The most pictures of a request, given or made.", min=1)] = 16,
    requests: Annotated[int, typer.Option(help="The most requests at once; others are told to come back.", min=1)] = 64,
    seconds: Annotated[float, typer.Option(help="The longest that a request may take.", min=0.001)] = 60,
) -> None:
    """Serve models over HTTP, with a page to drop pictures on; Ctrl-C lets running requests end.

    [dim]vidi serve runs/cells[/dim]

    [dim]vidi serve runs/cells runs/depth runs/digits --port 9000 --token SECRET[/dim]

    [dim]curl -F images=@photo.jpg 'http://127.0.0.1:8000/predict?threshold=0.3'[/dim]
    """
    missing = [part for part in PARTS if importlib.util.find_spec(part) is None]
    if missing:
        fail(USAGE, f"{', '.join(missing)} not installed: pip install 'vidi[serve]'")
    called = names_of(names)
    with listening(host, port) as listener:  # before models are loaded, which takes longer
        from vidi.serve.app import make_app
        from vidi.serve.limits import MEBIBYTE, MEGAPIXEL, Limits
        from vidi.serve.metrics import Metrics
        from vidi.serve.served import Served

        limits = Limits(
            bytes=round(megabytes * MEBIBYTE),
            pixels=round(megapixels * MEGAPIXEL),
            pictures=pictures,
            requests=requests,
            seconds=seconds,
            samples=pictures,
        )
        metrics = Metrics()
        models = {name: load(path, weights, download) for name, path in called.items()}
        served = [Served(n, model, metrics=metrics, most=batch, wait=wait_ms / 1000) for n, model in models.items()]
        hosts = {"127.0.0.1", "localhost", "[::1]"} if host in LOOPBACK else None
        for one in served:
            out.print(f"{one.name}: {', '.join(one.does)}", markup=False, highlight=False)
        if hosts is None and token is None:
            err.print("vidi: everybody who reaches this machine can use it; --token asks them for a word", markup=False)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listener.getsockname()[1]}"
        out.print(f"{address} (Ctrl-C stops)", markup=False, highlight=False)
        run(make_app(served, limits=limits, metrics=metrics, token=token, hosts=hosts), listener, seconds)


def names_of(names: list[str]) -> dict[str, str]:
    """Return runs and models by what requests call them: the last part of a path, or all of it where two share that."""
    short = [Path(name).resolve().name for name in names]
    called = [name if short.count(last) > 1 else last for name, last in zip(names, short, strict=True)]
    if len(set(called)) < len(called):
        fail(USAGE, f"received {', '.join(names)}, expected each of them once")
    return dict(zip(called, names, strict=True))


def load(name: str, weights: str | None, download: bool) -> Any:
    """Return a model that looks at pictures or makes some."""
    from vidi import api
    from vidi.model import Embeds, Predicts, Samples
    from vidi.recorded import task_of

    task = task_of(name)
    model = None if task.asks == "sentences" else api.load_or_create(name, weights=weights, download=download)
    if not isinstance(model, Predicts | Samples | Embeds):
        fail(USAGE, f"{name} is a system for {task.name}; served is what looks at pictures or makes some")
    return model


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens, with an OSError that names the address where it cannot.

    Its protocol is said, as asyncio sends small answers at once on sockets of TCP by name only, and else 40 ms later.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from None
    return listener


def run(app: Any, listener: socket.socket, seconds: float) -> None:
    """Serve until a signal, and then until the requests that run have been answered."""
    import uvicorn

    logging.getLogger("vidi").addHandler(logging.StreamHandler())
    patience = round(seconds + PATIENCE) or 1
    config = uvicorn.Config(
        app, log_level="warning", ws="none", server_header=False, timeout_graceful_shutdown=patience, lifespan="on"
    )
    uvicorn.Server(config).run(sockets=[listener])
