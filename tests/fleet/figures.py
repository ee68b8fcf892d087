"""Figures that a run prints at its end, as one table, with the machine that they are of. Nothing asserts them."""

import os
from pathlib import Path


def machine() -> str:
    """Processor, cores, memory, kernel and load of this machine, in words."""
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in facts if line.startswith("model name")), os.uname().machine)
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    load = os.getloadavg()[2]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{model}, {cores} cores, {memory:.0f} GiB, Linux {os.uname().release}, load of the last 15 minutes {load:.1f}"
    )


def table(rows: list[tuple[str, str]]) -> list[str]:
    """Lines, the second column aligned."""
    width = max(len(what) for what, _ in rows)
    return [f"{what:<{width}}  {value}" for what, value in rows]
