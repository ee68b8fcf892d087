"""What a benchmark says of the machine, and what processes used of it."""

import os
import platform
from pathlib import Path

import psutil


def describe() -> str:
    """Processor, cores, load and Python, one line."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in info if line.startswith(("model name", "Model"))), "?")
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{platform.machine()}, {processor}, {cores}, Python {platform.python_version()}"


def cpu_s(pid: int) -> float:
    """Seconds that a process has computed, on all cores together."""
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


def peak_rss_bytes(pid: int) -> int:
    """The most memory that a process ever had in RAM."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM"))) * 1024
