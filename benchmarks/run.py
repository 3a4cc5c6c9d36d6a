"""All benchmarks in one run: every ratio with its spread, the machine, the versions, as a table, JSON and a picture.

    .venv/bin/python benchmarks/run.py [--only prepare,train] [--quick] [--output_dir docs]

Leave the machine alone meanwhile. Writes speed.md, speed.json and speed.png. Each benchmark is also a command of its
own, such as `python -m benchmarks.prepare`. `--quick` shows that everything runs; its figures are worth nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Name → the arguments of a quick look. They run one after the other, each in a process of its own.
BENCHMARKS = {
    "startup": ["--pairs", "1"],
    "prepare": ["--rows", "3000", "--plain_rows", "3000", "--pairs", "1"],
    "train": ["--rows", "4000", "--epochs", "2", "--pairs", "1", "--whole_rows", "3000", "--whole_epochs", "2"],
    "predict": ["--rows", "4000", "--pairs", "1"],
    "encode": ["--photos", "16", "--slow_photos", "16", "--turns", "1"],
    "label": ["--rows", "1000", "--official_rows", "200", "--turns", "1"],
    "find": ["--rows", "4000", "--pairs", "1"],
    "growth": ["--rows", "10000"],
}

# What they are asked for besides, where it is not a quick look.
WHOLE = {"prepare": ["--million"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help=f"some of {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures are worth nothing")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "docs")
    flags = parser.parse_args()
    names = flags.only.split(",")
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    with tempfile.TemporaryDirectory(prefix="geograph-bench-") as folder:
        found, failed = {}, []
        for name in names:
            print(f"== {name}", flush=True)
            file = Path(folder) / f"{name}.jsonl"
            command = [
                sys.executable,
                "-m",
                f"benchmarks.{name}",
                *(BENCHMARKS[name] if flags.quick else WHOLE.get(name, [])),
            ]
            done = subprocess.run(command, cwd=ROOT, env=os.environ | {"GEOGRAPH_FIGURES": str(file)}, check=False)
            found[name] = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
            failed += [name] if done.returncode else []
    write(found, flags.output_dir)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}; the others are in {flags.output_dir}")


def write(found: dict[str, list[dict]], output: Path) -> None:
    """The table, the JSON and the picture; a benchmark that did not run keeps its figures of an earlier run."""
    about = json.loads(run("import json; from benchmarks.measuring import machine; print(json.dumps(machine()))"))
    output.mkdir(parents=True, exist_ok=True)
    path = output / "speed.json"
    before = json.loads(path.read_text()).get("figures", {}) if path.is_file() else {}
    figures = before | {name: rows for name, rows in found.items() if rows}
    path.write_text(json.dumps({"machine": about, "figures": figures}, indent=2, ensure_ascii=False) + "\n")
    (output / "speed.md").write_text(table(about, figures))
    run("from benchmarks.drawing import draw; import sys; draw(*sys.argv[1:])", str(path), str(output / "speed.png"))


def run(code: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True, capture_output=True,
                          text=True).stdout  # fmt: skip


def table(about: dict, figures: dict[str, list[dict]]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        "# Speed",
        "",
        "<!-- written by: python benchmarks/run.py -->",
        "",
        f"{about['processor']}, {about['cores']} cores ({', '.join(about['units']) or 'no vector units named'}), "
        f"Python {about['python']}; {versions}. Each figure is a median, with its spread over the pairs of one run.",
        "",
        "![Each ratio with a goal, against it](speed.png)",
        "",
    ]
    for name, rows in figures.items():
        lines += [
            f"## {name}",
            "",
            "| figure | median | from | to | goal | |",
            "| --- | ---: | ---: | ---: | --- | --- |",
        ]
        for row in rows:
            low, middle, high = (f"{row[key]:,.3g}" if row[key] < 100 else f"{row[key]:,.0f}"
                                 for key in ("low", "median", "high"))  # fmt: skip
            verdict = "" if not row["goal"] else "met" if row["met"] else "**missed**"
            rest = "; ".join(f"{key} {value}" for key, value in row.items()
                             if key not in ("name", "median", "low", "high", "unit", "goal", "met"))  # fmt: skip
            what = row["name"] + (f" ({rest})" if rest else "")
            lines.append(f"| {what} | {middle} {row['unit']} | {low} | {high} | {row['goal']} | {verdict} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
