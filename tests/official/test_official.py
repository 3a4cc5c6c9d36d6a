"""`make official` to the end, on a server of this machine that hands out made-up rows in the official form."""

import gzip
import http.server
import json
import subprocess
import sys
import threading

import pytest
import torch

from geograph_types.files import ROOT
from geograph_types.official import steps
from geograph_types.rows.synthetic import lines_of
from modeling_geograph import GeographModel
from names_geograph import CLASSES
from tests.support import warm
from tests.support.commands import Done, in_process


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serves rows.jsonl.gz; `weights.pth` lies beside, in the official form."""
    folder = tmp_path_factory.mktemp("official")
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(b"".join(lines_of("synthetic:1000")), 1))
    torch.manual_seed(0)
    model = GeographModel(GeographModel.config_class())
    state = model.state_dict()
    state["dist_emb.weight"] = torch.cat([state["dist_emb.weight"], torch.zeros(1, 16)])
    torch.save({"model_state_dict": state, "classes": CLASSES, "epoch": 1}, folder / "weights.pth")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as served:
        threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}", folder
        served.shutdown()


@pytest.fixture
def official(monkeypatch):
    """`make official` in this process; each step is a process, as ever, that finds the libraries loaded."""
    monkeypatch.setattr(steps.subprocess, "run", lambda command: warm.run(*command[1:]))

    def official(server, output, *more) -> Done:
        address, folder = server
        flags = ("--rows", f"{address}/rows.jsonl.gz", "--weights", folder / "weights.pth", "--output_dir", output)
        return in_process("geograph_types.official.__main__", *flags, "--epochs", 1, *more)

    return official


@pytest.mark.slow
def test_from_nothing_to_the_table_and_on_from_each_step(official, server, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOGRAPH_CACHE", str(tmp_path / "cache"))
    output = tmp_path / "official"
    first = official(server, output)
    assert first.returncode == 0, first.stderr
    needs = first.stderr.splitlines()[0]
    assert "GB of disk" in needs and "minutes" in needs and "Network: http://127.0.0.1" in needs
    table = (output / "official.md").read_text()
    assert "Made by `make official` from `rows.jsonl.gz`" in table
    assert [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| o")] == [
        "| ours, default recipe", "| ours, official recipe", "| official v2.3, converted"
    ]  # fmt: skip
    metrics = json.loads((output / "report" / "metrics.json").read_text())
    assert f"{metrics['f1_macro']:.4f}".removeprefix("0") in table
    assert set(metrics["compared_with"]) >= {"official-recipe", "official-v2.3"}
    assert "macro F1" in (output / "default" / "README.md").read_text()
    # All is done: nothing is made again; what is missing is.
    before = (output / "default" / "model.safetensors").stat().st_mtime_ns
    (output / "official.md").unlink()
    again = official(server, output)
    assert again.returncode == 0 and again.stderr.count("done already") == 5, again.stderr
    assert (output / "official.md").read_text() == table
    assert (output / "default" / "model.safetensors").stat().st_mtime_ns == before


def test_other_rows_make_every_step_anew(tmp_path):
    from geograph_types.official.steps import Step, Steps

    made = tmp_path / "made"
    code = tmp_path / "step.py"
    code.write_text(f"import pathlib; pathlib.Path({str(made)!r}).mkdir(); print('made')")

    def do(*inputs) -> bool:
        """Whether the second step, which depends on the first, was done again."""
        made.exists() and (made / "mark").touch()
        steps = Steps(tmp_path)
        steps.do(Step("first", (str(code),), made, inputs=inputs))
        return not (made / "mark").exists()

    assert do("rows 1") and not do("rows 1") and do("rows 2") and not do("rows 2")


def test_a_missing_file_is_said_before_anything_begins(tmp_path):
    command = [sys.executable, "-m", "geograph_types.official", "--rows", "http://127.0.0.1:1/rows.jsonl.gz"]
    command += ["--weights", tmp_path / "weights.pth", "--output_dir", tmp_path / "out"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1 and "no such file" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
