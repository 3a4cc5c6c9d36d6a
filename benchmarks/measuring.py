"""What all benchmarks share: pairs taken in turn, whole processes with their peak memory, figures noted as JSON.

A figure is a ratio against an honest baseline of the same run. `note` prints it and, where `GEOGRAPH_FIGURES` names a
file, appends it there: benchmarks/run.py reads them back.
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

FIGURES_VARIABLE = "GEOGRAPH_FIGURES"


def note(name: str, values: Sequence[float], unit: str = "×", goal: str = "", **details: Any) -> float:
    """Prints a figure (the median of `values`, and their spread) and writes it down; returns the median.

    Args:
        unit: "×" for a ratio, else such as "rows/s", "MiB", "s".
        goal: such as "≥ 12" or "≤ 1.10"; empty where there is none.
    """
    middle = median(values)
    figure = {"name": name, "median": middle, "low": min(values), "high": max(values), "unit": unit, "goal": goal}
    told = f"{name}: {number(middle)} {unit}"
    if len(values) > 1:
        told += f" ({number(min(values))} to {number(max(values))})"
    if goal:
        figure["met"] = meets(middle, goal)
        told += f", goal {goal}{'' if figure['met'] else ': missed'}"
    print(told, *(f"{key} {value}" for key, value in details.items()), sep="; ", flush=True)
    if path := os.environ.get(FIGURES_VARIABLE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(figure | details, ensure_ascii=False) + "\n")
    return middle


def meets(value: float, goal: str) -> bool:
    """Whether a value reaches "≥ 12" or "≤ 1.10"."""
    sign, bound = goal.split()[:2]
    return value >= float(bound) if sign == "≥" else value <= float(bound)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def in_turn(first: Callable[[], float], second: Callable[[], float], pairs: int) -> list[tuple[float, float]]:
    """What both return, `pairs` times; who goes first changes, since a machine slows down and speeds up."""
    found = []
    for turn in range(pairs):
        if turn % 2:
            b, a = second(), first()
        else:
            a, b = first(), second()
        found.append((a, b))
    return found


def run_whole(command: Sequence[Any], cwd: Path | None = None, **environment: str) -> tuple[float, int, float]:
    """A whole process: its seconds, the peak memory of it and its children (bytes, shared pages once), CPU seconds.

    Raises:
        SystemExit: it failed; with the end of what it said.
    """
    import psutil

    command = list(map(str, command))
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as cache, tempfile.TemporaryFile() as said:
        # datasets must not find the rows of an earlier run in its cache.
        own = os.environ | {"HF_HOME": cache, "HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1"} | environment
        before = os.times()
        start, memory = time.perf_counter(), PeakMemory()
        process = psutil.Popen(command, env=own, cwd=cwd, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            time.sleep(memory.look_at(process))
        seconds, after = time.perf_counter() - start, os.times()
        if process.returncode:
            said.seek(0)
            end = said.read().decode(errors="replace")[-2000:]
            raise SystemExit(f"{' '.join(command[:3])}: exit status {process.returncode}\n{end}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, memory.peak, cpu


class PeakMemory:
    """The most memory of a process and its children, in bytes; to look must not slow down what is looked at.

    Shares of pages that several have take some 15 ms a look, so they are only asked for twice a second, and where all
    pages together, which are told at once, are more than they were.
    """

    # A look takes at most this share of one core.
    SHARE = 0.04

    def __init__(self):
        self.peak, self._pages, self._next = 0, 0, 0.0

    def look_at(self, process) -> float:
        """Seconds until the next look."""
        import psutil

        start = time.process_time()
        try:
            family = [process, *process.children(recursive=True)]
            pages = sum(one.memory_info().rss for one in family)
            if pages > 1.005 * self._pages or time.perf_counter() > self._next:
                self._pages, self._next = max(pages, self._pages), time.perf_counter() + 0.5
                shares = [getattr(one.memory_full_info(), "pss", 0) or one.memory_info().rss for one in family]
                self.peak = max(self.peak, sum(shares))
        except psutil.Error:
            pass  # it ended meanwhile
        return max(0.01, (time.process_time() - start) / self.SHARE)


def machine() -> dict[str, Any]:
    """The processor and the versions that the figures belong to."""
    import importlib.metadata

    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    able = torch.cpu.get_capabilities()
    units = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if able.get(name)]
    versions = {}
    for name in ("torch", "transformers", "datasets", "pyarrow", "numpy", "onnxruntime", "openvino", "ray", "gradio"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found = {"processor": model, "cores": os.cpu_count(), "units": units, "python": platform.python_version()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found | {"versions": versions}
