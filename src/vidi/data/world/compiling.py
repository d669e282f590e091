"""How numba compiles the kernels of the world, beside cache=True."""

from typing import Any

# Division by zero gives infinity, as in numpy; sums may be reordered and fused, infinities keep their meaning.
_ARITHMETIC: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}

CALLED_FROM_PYTHON: dict[str, Any] = {**_ARITHMETIC, "nogil": True}

# Called by kernels alone: without the wrappers for Python the compilation takes two thirds of the time.
INNER: dict[str, Any] = {**_ARITHMETIC, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
