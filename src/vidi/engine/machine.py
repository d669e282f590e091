"""What a computation runs on, in words that name no host. Imports no torch unless it is asked for its own view."""

import os
import platform
from pathlib import Path

CONTROL_GROUP = Path("/sys/fs/cgroup/cpu.max")


def machine() -> str:
    """Return the accelerator, if there is one, and the processor with its cores and the threads that torch uses."""
    import torch

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


def usable_cores() -> float:
    """Return how many cores this process may use: of those of the machine, its affinity and its control group."""
    cores = float(_own_cores())
    if CONTROL_GROUP.is_file():
        quota, period = CONTROL_GROUP.read_text().split()
        cores = cores if quota == "max" else min(cores, int(quota) / int(period))
    return cores


def threads_of_torch() -> int:
    """Return how many threads torch takes if nobody says it: one a core, whoever else uses them."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() else _own_cores()


def _own_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def advice_on_threads() -> str | None:
    """Return what helps where torch would take more cores than are free; None where it would not."""
    cores, threads = usable_cores(), threads_of_torch()
    if threads > cores:
        return (
            f"this process may use {cores:g} cores and torch takes {threads} threads: train with threads={int(cores)}"
        )
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    free = max(1, round(cores - busy))
    if threads > free:
        return (
            f"other work keeps {busy:.1f} of {cores:g} cores busy: trainings beside it are faster with threads={free}"
        )
    return None


def may_have_accelerator() -> bool:
    """Tell whether it is worth asking torch, which takes seconds, for an accelerator."""
    drivers = ("/proc/driver/nvidia/version", "/dev/kfd", "/dev/dri/renderD128", "/dev/accel")
    return platform.system() != "Linux" or any(Path(driver).exists() for driver in drivers)
