"""How numba compiles the kernels of the world, beside cache=True."""

from typing import Any

# Division by zero gives infinity, as in numpy.
CALLED_FROM_PYTHON: dict[str, Any] = {"error_model": "numpy", "nogil": True}

# Called by kernels alone: without the wrappers for Python the compilation takes two thirds of the time.
INNER: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
