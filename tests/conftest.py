"""What every test shares: threads, shape checks, seeds, the real data, and the command line in a process of its own.

The annotations of shapes in `vidi` are checked at run time here: an import hook wraps every annotated function. The
libraries that the hook must not see half-imported come first. VIDI_NO_HOOK=1 leaves the hook out.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.settings import SEED, THREADS

ROOT = Path(__file__).resolve().parents[1]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

# Read by OpenMP, BLAS and numba when they are loaded, and handed on to the processes that tests start.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
os.environ["MPLBACKEND"] = "Agg"
# One folder of compiled kernels per worker: numba's cache is not safe when two processes write one index.
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".numba_cache" / WORKER)

import matplotlib.pyplot  # noqa: E402, F401
import numba  # noqa: E402, F401
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import scipy  # noqa: E402, F401
import torch  # noqa: E402
import torchvision  # noqa: E402, F401
from hypothesis import settings  # noqa: E402

torch.set_num_threads(THREADS)
torch.set_warn_always(True)  # else a warning fails whichever test meets it first, and hides from the others

if os.environ.get("VIDI_NO_HOOK") != "1":
    from jaxtyping import install_import_hook

    import tests.architecture.shape_checker  # noqa: F401 - the hook looks it up by name

    # not the command line: typer hands None to options that have a default
    parts = [path.stem for path in (ROOT / "src" / "vidi").iterdir() if path.stem not in ("cli", "__init__")]
    install_import_hook([f"vidi.{part}" for part in parts], "tests.architecture.shape_checker.check")

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start each test from the same global random state, whatever ran before it."""
    torch.default_generator.manual_seed(SEED)
    np.random.seed(SEED)  # the oracles draw from it


@pytest.fixture
def learnt(record_property: Callable[[str, object], None]) -> "Learnt":
    """Ask that a trained or fitted thing passes its bar: learnt("ap50", score, least=0.6) or most=.

    A bar is the mean over five seeds less three standard deviations, or easier, so that it holds under any seed and on
    any processor. What was reached is recorded: `VIDI_TEST_SEED=3 pytest --junitxml=FILE` writes it down.
    """

    def passes(name: str, value: float, *, least: float = -math.inf, most: float = math.inf) -> None:
        record_property(name, value)
        assert least <= value <= most, f"{name}: {value:.4g}, expected from {least:.4g} to {most:.4g}"

    return passes


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of small real data sets: VIDI_SHARED_DATA, else ../shared/data beside the checkout."""
    folder = Path(os.environ.get("VIDI_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder (VIDI_SHARED_DATA names another)")
    return folder


Learnt = Callable[..., None]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_python() -> Run:
    """Run Python on the checkout in a process of its own, without the import hook: run_python("-c", code)."""

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        stdin: str = "",
        env: dict[str, str] | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        fixed = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"}  # no message breaks its line
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            input=stdin,
            env={**os.environ, **fixed, **(env or {})},
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def run_vidi(run_python: Run, tmp_path: Path) -> Run:
    """Run the command line in an empty folder: run_vidi("train", "resnet18").returncode, .stdout, .stderr."""

    def run(*arguments: str | Path, cwd: Path = tmp_path, **options: object) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "vidi", *arguments, cwd=cwd, **options)

    return run
