"""Small files for the tests of readers."""

from pathlib import Path

import numpy as np
import PIL.Image


def picture(path: Path, size: tuple[int, int] = (20, 40), seed: int = 0) -> Path:
    """Write noise of size (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path


def text(path: Path, content: str) -> Path:
    """Write a text file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path
