"""`vidi serve` as a process: where it listens, what it says, and that a stop lets running requests end."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import vidi
from tests.cli.tiny_sets import write_picture
from tests.conftest import ROOT
from vidi.cli import serving
from vidi.serve.limits import Limits

PATIENCE = 120.0


@contextmanager
def served(*words: str | Path) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Start a server on a free port; yield the process, its address, and what it said before."""
    command = [sys.executable, "-m", "vidi", "serve", *map(str, words), "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            said: list[str] = []
            for line in process.stdout or ():
                said.append(line)
                if line.startswith("http://"):
                    break
            yield process, said[-1].split()[0], said[:-1]
        finally:
            process.kill()


def post(address: str, path: str, body: bytes, kind: str) -> Any:
    request = urllib.request.Request(address + path, body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_a_run_is_served_and_a_stop_lets_a_running_request_end(detector: Path, generator: Path, tmp_path: Path) -> None:
    photo = write_picture(tmp_path / "a.png", (40, 60)).read_bytes()
    with served(detector, generator) as (process, address, said):
        assert said == ["detector: predict\n", "gan: sample\n"]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        found = post(address, "/predict?threshold=0", photo, "image/png")
        assert (found["model"], found["results"][0]["width"]) == ("detector", 60)
        answers: list[Any] = []
        with socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), timeout=PATIENCE) as line:
            head = (
                f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {len(photo)}"
            )
            line.sendall(head.encode() + b"\r\n\r\n" + photo[:100])  # a request that is under way
            assert post(address, "/predict", photo, "image/png")["model"] == "detector"  # the line has been taken
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert process.poll() is None
            line.sendall(photo[100:])
            answers.append(line.makefile("rb").read())
        process.wait(PATIENCE)
        assert answers[0].startswith(b"HTTP/1.1 200")
        assert b'"model":"detector"' in answers[0]
        assert "Traceback" not in (process.stderr.read() if process.stderr else "")


def test_answers_are_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY on what such a socket accepts; without it, small answers wait for 40 ms."""

    async def connected() -> int:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        listener = serving.listening("127.0.0.1", 0)
        async with await asyncio.start_server(lambda _, writer: accepted.set_result(writer), sock=listener):
            _, ours = await asyncio.open_connection(*listener.getsockname())
            writer = await accepted
            no_delay = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for end in (writer, ours):
                end.close()
                await end.wait_closed()
        return no_delay

    assert asyncio.run(connected()) == 1


def test_a_taken_port_is_told_before_models_are_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = vidi("serve", tmp_path / "nowhere", "--port", str(port))
    assert done.code == 3
    assert f"127.0.0.1:{port}: Address already in use" in done.err


def test_what_is_no_run_and_what_has_no_pictures_is_told(tmp_path: Path) -> None:
    done = vidi("serve", tmp_path / "nowhere", "--port", "0")
    assert done.code == 2
    assert "nowhere" in done.err
    assert vidi("serve").code == 2


def test_a_server_without_its_libraries_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(serving, "PARTS", ("fastapi", "a_library_that_there_is_not"))
    done = vidi("serve", tmp_path)
    assert done.code == 2
    assert done.err == "vidi: a_library_that_there_is_not not installed: pip install 'vidi[serve]'\n"


def test_runs_are_called_by_their_folders_and_by_all_of_the_path_where_two_share_that() -> None:
    assert serving.names_of(["runs/cells", "runs/depth/"]) == {"cells": "runs/cells", "depth": "runs/depth/"}
    assert serving.names_of(["a/cells", "b/cells"]) == {"a/cells": "a/cells", "b/cells": "b/cells"}
    done = vidi("serve", "a/cells", "a/cells")
    assert done.code == 2
    assert "expected each of them once" in done.err


def test_the_options_are_the_limits_by_default_and_when_given(monkeypatch: pytest.MonkeyPatch, detector: Path) -> None:
    apps: list[Any] = []
    monkeypatch.setattr(serving, "run", lambda app, listener, seconds: apps.append(app))
    assert vidi("serve", detector, "--port", "0").code == 0
    assert (apps[0].limits, apps[0].token) == (Limits(samples=16), None)
    assert apps[0].hosts == {"127.0.0.1", "localhost", "[::1]"}
    limits = ("--megabytes", "0.5", "--megapixels", "2", "--pictures", "3", "--requests", "4", "--seconds", "5")
    done = vidi("serve", detector, "--port", "0", "--host", "0.0.0.0", *limits)
    assert apps[1].limits == Limits(bytes=2**19, pixels=2_000_000, pictures=3, requests=4, seconds=5, samples=3)
    assert "everybody who reaches this machine can use it" in done.err
    assert apps[1].hosts is None
    quiet = vidi("serve", detector, "--port", "0", "--host", "0.0.0.0", env={"VIDI_TOKEN": "word"})
    assert (apps[2].token, quiet.err) == ("word", "")
