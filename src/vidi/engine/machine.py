"""What a computation runs on, in words that name no host."""

import os
import platform
from pathlib import Path

import torch


def machine() -> str:
    """Return the accelerator, if there is one, and the processor with its cores and the threads that torch uses."""
    threads = torch.get_num_threads()
    cores = os.cpu_count() or 1
    parts = [f"{processor()}, {cores} core{'s' * (cores != 1)}, {threads} thread{'s' * (threads != 1)} of torch"]
    if torch.cuda.is_available():
        parts.insert(0, torch.cuda.get_device_name())
    elif torch.accelerator.is_available():
        parts.insert(0, str(torch.accelerator.current_accelerator()))
    return "; ".join(parts)


def processor() -> str:
    """Return the model of the processor, as far as the system tells it."""
    told = Path("/proc/cpuinfo")
    if told.is_file():
        for line in told.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
