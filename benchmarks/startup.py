"""What a person waits for before anything happens: imports, `--help`, the first answer, the Space's first page.

    .venv/bin/python -m benchmarks.startup [--pairs 3]

Seconds of CPU, start of Python included. The first answer is one ready row through predict.py, against what importing
torch and transformers takes. `import transformers` alone loads next to nothing; what it loads as soon as any model is
touched is `PreTrainedModel`, so the ratio to that is told, too.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks.measuring import in_turn, note, run_whole
from geograph_types.files import ROOT

COMMANDS = sorted(path.name for path in ROOT.glob("*.py") if not path.stem.endswith("_geograph"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    flags = parser.parse_args()
    times = range(flags.pairs)
    note("import geograph_types, CPU", [cpu_of("-c", "import geograph_types") for _ in times], "s")
    for name in COMMANDS:
        note(f"{name} --help, CPU", [cpu_of(ROOT / name, "--help") for _ in times], "s", goal="≤ 1")
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as scratch:
        folder = Path(scratch)
        model, row = make_model(folder), make_row(folder)
        answer = [ROOT / "predict.py", "--model", model, "--input", row, "--output", folder / "a.jsonl"]
        pairs = in_turn(lambda: cpu_of("-c", "import torch, transformers"), lambda: cpu_of(*answer), flags.pairs)
        touched = "import torch; from transformers import AutoModel, PreTrainedModel"
        note("first answer, CPU", [own for _, own in pairs], "s")
        note(
            "first answer against importing torch and transformers", [own / base for base, own in pairs], goal="≤ 1.5"
        )
        note("first answer against importing torch and transformers' PreTrainedModel",
             [own / cpu_of("-c", touched) for _, own in pairs])  # fmt: skip
        note("the Space's first page", [first_page(model) for _ in times], "s")


def cpu_of(*arguments) -> float:
    return run_whole([sys.executable, *arguments])[2]


def make_model(folder: Path) -> Path:
    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    save_model_repository(GeographModel(GeographConfig()), folder / "model")
    return folder / "model"


def make_row(folder: Path) -> Path:
    from geograph_types.rows.synthetic import lines_of

    row = json.loads(next(iter(lines_of("synthetic:1"))))
    (folder / "row.jsonl").write_text(json.dumps(row) + "\n")
    return folder / "row.jsonl"


def first_page(model: Path) -> float:
    """Seconds from the start of app.py until its page answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "app.py"), "--model", str(model), "--port", str(port)]
    page = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.perf_counter() - start < 120:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    answer.read()
                return time.perf_counter() - start
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the page did not open within two minutes")
    finally:
        page.terminate()
        page.wait(timeout=20)


if __name__ == "__main__":
    main()
