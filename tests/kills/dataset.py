"""prepare_dataset.py: the older dataset stands whole until the new one does."""

import gzip
from pathlib import Path

from tests.kills.frame import Scenario, digest_of, script

OUT = "geograph-types"


def lay_out(work: Path, _) -> None:
    from geograph_types.rows.synthetic import lines_of

    (work / "rows.jsonl.gz").write_bytes(gzip.compress(b"".join(lines_of("synthetic:700:3")), mtime=0))


def run(work: Path, _) -> None:
    script("prepare_dataset.py", "--source", "rows.jsonl.gz", "--output_dir", OUT, "--small", "200", "--medium", "400")


def whole_or_absent(work: Path, _) -> None:
    out = work / OUT
    if out.exists():
        names = {path.relative_to(out).parts[0] for path in out.rglob("*")}
        assert {"README.md", "small", "medium", "large"} <= names, f"half a dataset stands there: {sorted(names)}"


def result(work: Path, _) -> bytes:
    return digest_of(work / OUT)


SCENARIOS = [
    Scenario(
        "prepare",
        run,
        result,
        prepare=lay_out,
        whole=whole_or_absent,
        leftovers=(f".{OUT}.*", "tmp/*"),
        preload=(
            "numpy", "orjson", "pybase64", "isal.igzip", "pyarrow.parquet", "transformers.hf_argparser",
            "huggingface_hub.repocard", "jinja2", "matplotlib.backends.backend_agg", "matplotlib.figure",
        ),
    )
]  # fmt: skip
