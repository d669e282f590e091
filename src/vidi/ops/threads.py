"""Compiled loops on several threads: they release Python's lock while they run."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def share(work: Callable[[np.ndarray], None], parts: Sequence[np.ndarray]) -> None:
    """Do the parts that are not empty, one thread each."""
    parts = [part for part in parts if len(part)]
    if len(parts) <= 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(work, parts))
