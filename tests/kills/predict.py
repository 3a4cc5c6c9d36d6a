"""predict.py: killed and started again it gives the same bits, and what stood at its output stays until then."""

from pathlib import Path

from tests.kills.frame import Scenario, script

OUTPUT = "answers.parquet"


def lay_out(work: Path, _) -> None:
    import json

    import torch

    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from geograph_types.rows.synthetic import lines_of
    from modeling_geograph import GeographModel

    torch.manual_seed(0)
    save_model_repository(GeographModel(GeographConfig()).eval(), work / "model")
    lines = b"".join(lines_of("synthetic:1500:3"))
    (work / "rows.jsonl").write_bytes(lines + json.dumps({"gridimage_id": 1}).encode() + b"\n")


def run(work: Path, _) -> None:
    script("predict.py", "--model", "model", "--input", "rows.jsonl", "--output", OUTPUT)


def whole_or_absent(work: Path, _) -> None:
    import pyarrow.parquet as pq

    if (work / OUTPUT).exists():
        assert pq.read_metadata(work / OUTPUT).num_rows == 1501


def result(work: Path, _) -> bytes:
    return (work / OUTPUT).read_bytes()


SCENARIOS = [
    Scenario(
        "predict",
        run,
        result,
        prepare=lay_out,
        whole=whole_or_absent,
        leftovers=(f"{OUTPUT}.partial", f".{OUTPUT}.*", "tmp/*"),
        preload=(
            "numpy",
            "orjson",
            "pybase64",
            "pyarrow.parquet",
            "pyarrow.csv",
            "torch",
            "transformers.modeling_utils",
        ),
    )
]
