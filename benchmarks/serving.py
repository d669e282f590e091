"""`vidi serve` against the bare loop and against the same model behind a plain FastAPI handler; and a soak.

Each server is a process of its own, asked by threads of this one over kept connections; rounds are interleaved. The
bare loop decodes the same files and predicts 16 at a time, without any server: what the machine can do at most.

    python -m benchmarks.serving                 ratios, p50 and p99
    python -m benchmarks.serving --soak 600      good and bad requests for so many seconds, and the server's memory
"""

import argparse
import http.client
import io
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from vidi.backbones.resnet import resnet18
from vidi.detection.retinanet import retinanet_tiny
from vidi.files import ImageBytes
from vidi.model import Predicts
from vidi.nn.inference import fuse_for_inference

MODELS: dict[str, Callable[[], Predicts]] = {"retinanet_tiny": retinanet_tiny, "resnet18": resnet18}
SIZES = ((240, 320), (320, 240))
BATCH = 16
BARS = {"plain": 1.0, "bare": 0.8}
"""Throughput of many clients over that of the plain handler and that of the bare loop, at least."""


# ----------------------------------------------------------------------------------------------------------------------
# Servers, each in a process of its own


def model_of(name: str) -> Predicts:
    """Return a model with random weights, the same in every process."""
    torch.manual_seed(0)
    model = MODELS[name]()
    model.drawn_at = None  # nobody needs to hear that they are random
    return model


def plain_app(name: str) -> Any:
    """Return what one writes in ten lines: a handler that decodes a picture and predicts on it."""
    from fastapi import FastAPI, UploadFile

    app, model = FastAPI(), fuse_for_inference(model_of(name))

    @app.post("/predict")
    def predict(images: UploadFile) -> Any:
        picture = PIL.Image.open(io.BytesIO(images.file.read()))
        (result,) = model.predict([picture])
        return {"results": [result.above().to_dict() if hasattr(result, "above") else result.to_dict()]}

    return app


def vidi_app(name: str) -> Any:
    """Return what `vidi serve` runs."""
    from vidi.serve.app import make_app
    from vidi.serve.limits import Limits
    from vidi.serve.metrics import Metrics
    from vidi.serve.served import Served

    metrics = Metrics()
    limits = Limits(bytes=2**20, pixels=10**6)
    return make_app([Served(name, model_of(name), metrics=metrics, most=BATCH)], limits=limits, metrics=metrics)


APPS = {"vidi": vidi_app, "plain": plain_app}


def serve(kind: str, name: str) -> None:
    """Serve until the process is ended; print the port."""
    import uvicorn

    from vidi.cli.serving import listening

    listener = listening("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(APPS[kind](name), log_level="error", ws="none")).run(sockets=[listener])


@contextmanager
def serving(kind: str, name: str) -> Iterator[tuple[int, int]]:
    """Start a server; yield its port and its process id."""
    command = [sys.executable, "-m", "benchmarks.serving", "--server", kind, "--model", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            port = int(process.stdout.readline() if process.stdout else "")
            _wait_for(port)
            yield port, process.pid
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    for _ in range(1200):
        try:
            ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/openapi.json")
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the server does not start")


# ----------------------------------------------------------------------------------------------------------------------
# Clients


def photos(count: int) -> list[bytes]:
    """Return JPEGs of smooth noise, of two sizes."""
    draws, found = np.random.default_rng(0), []
    for row in range(count):
        height, width = SIZES[row % len(SIZES)]
        coarse = PIL.Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        content = io.BytesIO()
        coarse.resize((width, height), PIL.Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        found.append(content.getvalue())
    return found


def form_of(data: bytes, name: str = "a.jpg") -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a form with one file."""
    head = f'--x\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + data + b"\r\n--x--\r\n"
    return body, {"Content-Type": "multipart/form-data; boundary=x"}


def ask(
    line: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Send a request over a kept connection."""
    line.request(method, path, body or None, headers or {})
    answer = line.getresponse()
    return answer.status, answer.read()


@dataclass(frozen=True)
class Load:
    """What clients saw: pictures a second, and the milliseconds of each request."""

    rate: float
    milliseconds: tuple[float, ...]

    def percentile(self, percent: int) -> float:
        return float(np.percentile(self.milliseconds, percent))


def load(port: int, bodies: Sequence[bytes], clients: int) -> Load:
    """Send every picture once, by so many clients at a time."""
    left, took, lock = list(bodies), [], threading.Lock()

    def client() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while True:
            with lock:
                if not left:
                    return
                data = left.pop()
            start = time.perf_counter()
            status, answer = ask(line, "POST", "/predict", *form_of(data))
            if status != 200:
                raise ValueError(f"received {status} {answer[:200]!r}, expected 200")
            with lock:
                took.append(1e3 * (time.perf_counter() - start))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(len(bodies) / (time.perf_counter() - start), tuple(took))


def bare(model: Predicts, bodies: Sequence[bytes]) -> float:
    """Return the pictures a second of a loop without a server."""
    start = time.perf_counter()
    for first in range(0, len(bodies), BATCH):
        samples = model.samples([ImageBytes("x", data) for data in bodies[first : first + BATCH]])
        for result in model.predict_samples(samples, batch_size=BATCH):
            json.dumps((result.above() if hasattr(result, "above") else result).to_dict())
    return len(bodies) / (time.perf_counter() - start)


def lines(count: int = 192, rounds: int = 5) -> Iterator[str]:
    """Yield a row for each model and number of clients."""
    bodies = photos(count)
    for name in MODELS:
        loop = fuse_for_inference(model_of(name))
        with serving("vidi", name) as (ours, _), serving("plain", name) as (theirs, _):
            for clients in (1, 4, 16):
                yield row(name, clients, bodies, loop, (ours, theirs), rounds)


def row(name: str, clients: int, bodies: Sequence[bytes], loop: Predicts, ports: tuple[int, int], rounds: int) -> str:
    """Measure in interleaved rounds, the first of which does not count, and say what came out."""
    ours, theirs, bares = [], [], []
    for number in range(rounds + 1):
        found = load(ports[0], bodies, clients), load(ports[1], bodies, clients), bare(loop, bodies)
        if number:
            for kept, value in zip((ours, theirs, bares), found, strict=True):
                kept.append(value)
    plain = statistics.median(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
    alone = statistics.median(a.rate / b for a, b in zip(ours, bares, strict=True))
    joint = [
        Load(statistics.median(one.rate for one in kind), sum((one.milliseconds for one in kind), ()))
        for kind in (ours, theirs)
    ]
    times = "; ".join(
        f"{label} {one.rate:.0f}/s p50 {one.percentile(50):.1f} p99 {one.percentile(99):.1f} ms"
        for label, one in zip(("vidi", "plain"), joint, strict=True)
    )
    verdict = "no bar"
    if clients > 1:
        reached = plain >= BARS["plain"] and (clients < BATCH or alone >= BARS["bare"])
        verdict = f"bars {BARS['plain']:g}x, of {BATCH} clients {BARS['bare']:g}x {'reached' if reached else 'MISSED'}"
    ratios = f"{plain:.2f}x the plain handler, {alone:.2f}x the bare loop"
    return f"{name:<16} {clients:>2} clients: {ratios}; {times}; {verdict}"


# ----------------------------------------------------------------------------------------------------------------------
# The soak


def soak(name: str, seconds: float, clients: int = 8) -> Iterator[str]:
    """Send good and bad requests, and yield what became of them and the server's memory, ten times."""
    good, until, counts, lock = photos(16), time.monotonic() + seconds, {}, threading.Lock()
    kinds = requests_of(good)

    def client(seed: int, port: int) -> None:
        draws = random.Random(seed)
        while time.monotonic() < until:
            kind, send = draws.choice(kinds)
            try:
                status = str(send(port))
            except OSError as error:
                status = type(error).__name__
            with lock:
                counts[kind, status] = counts.get((kind, status), 0) + 1

    with serving("vidi", name) as (port, process):
        threads = [threading.Thread(target=client, args=(seed, port)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        for tenth in range(10):
            time.sleep(seconds / 10)
            held, asked = memory(process), sum(counts.values())
            yield f"{(tenth + 1) * seconds / 10:6.0f} s  {held:7.1f} MB resident  {asked} requests"
        for thread in threads:
            thread.join()
        yield from (f"{kind:<24} {status:<20} {count}" for (kind, status), count in sorted(counts.items()))


def requests_of(good: Sequence[bytes]) -> list[tuple[str, Callable[[int], Any]]]:
    """Return kinds of requests, most of them good, as functions from a port to a status."""

    def sending(path: str, body: bytes, headers: dict[str, str]) -> Callable[[int], Any]:
        def send(port: int) -> int:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            try:
                return ask(line, "POST", path, body, headers)[0]
            finally:
                line.close()

        return send

    def hang_up(port: int) -> str:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        line.putrequest("POST", "/predict")
        line.putheader("Content-Length", "100000")
        line.putheader("Content-Type", "image/jpeg")
        line.endheaders(good[0][:500])
        line.close()
        return "left"

    large = io.BytesIO()
    PIL.Image.new("L", (4000, 4000)).save(large, "PNG")
    fine = [("good", sending("/predict", *form_of(data))) for data in good]
    drawn = [("good, drawn", sending("/predict?format=jpeg", *form_of(data))) for data in good[:3]]
    return [
        *(*fine, *drawn),
        ("no picture", sending("/predict", *form_of(b"x" * 5000))),
        ("cut short", sending("/predict", *form_of(good[0][:2000]))),
        ("too many pixels", sending("/predict", *form_of(large.getvalue()))),
        ("too many bytes", sending("/predict", *form_of(b"x" * (2**20 + 1)))),
        ("broken form", sending("/predict", b"--x\r\nnothing", {"Content-Type": "multipart/form-data; boundary=x"})),
        ("no such path", sending("/elsewhere", b"x", {})),
        ("hung up", hang_up),
    ]


def memory(process: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=APPS)
    parser.add_argument("--model", default="retinanet_tiny", choices=MODELS)
    parser.add_argument("--soak", type=float)
    parser.add_argument("--pictures", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.server:
        serve(given.server, given.model)
    else:
        for line in soak(given.model, given.soak) if given.soak else lines(given.pictures, given.rounds):
            print(line, flush=True)
