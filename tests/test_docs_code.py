"""The Python code on the pages people read: every block of README.md and of both filled cards runs, as it stands.

Blocks of one page share their names, top to bottom, as a reader pastes them. `<!-- not run -->` right before a block
leaves it out. The cards are read as published; their names, and CLIP's own, are served on loopback.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from names_geograph import VISION_MODEL, VISION_MODEL_REVISION
from tests.support.photo_factory import landscape
from tests.support.publishing import ROOT, hub_environment, pushed
from tests.support.tiny_tower import make_tiny_tower

BLOCK = re.compile(r"(<!-- not run -->\s*)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

SHELL = re.compile(r"(<!-- not run -->\s*)?^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)

RUN_PAGES = """
import json, linecache, sys, traceback
for page, blocks in json.load(sys.stdin):
    names = {"__name__": "__main__"}
    for line, code in blocks:
        where = f"{page}, the block at line {line}"
        linecache.cache[where] = (len(code), None, code.splitlines(True), where)
        try:
            exec(compile(code, where, "exec"), names)
        except Exception:
            traceback.print_exc()
            sys.exit(f"FAILED: {where}")
"""


def blocks_of(text: str) -> list[tuple[int, str]]:
    """The blocks to run, each with its line in the page."""
    return [(text.count("\n", 0, m.start(2)) + 1, m[2]) for m in BLOCK.finditer(text) if not m[1]]


def published_card(kind: str, repo_id: str) -> str:
    """The card as the Hub got it with the first version, which `--push_to_hub` sent."""
    first = list(pushed().hub.repos[kind, repo_id].commits.values())[1]
    return first["README.md"].content.decode()


def make_official_checkpoint(model_dir: Path, file: Path) -> None:
    """The weights of a model folder as an official .pth holds them: 24 distance rows, the last never used."""
    import torch
    from safetensors.torch import load_file

    from names_geograph import CLASSES

    state = load_file(model_dir / "model.safetensors")
    state["dist_emb.weight"] = torch.cat([state["dist_emb.weight"], torch.zeros(1, 16)])
    torch.save({"model_state_dict": state, "classes": CLASSES, "epoch": 1}, file)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where a reader would be: the dataset, a trained model, a photo and an official checkpoint beside each other."""
    place = tmp_path_factory.mktemp("reader")
    (place / "demo").mkdir()
    for name in ("geograph-types", "geograph-type-classifier"):
        (place / name).symlink_to(pushed().folder / name)
        (place / "demo" / name).symlink_to(pushed().folder / name)
    (place / "geograph_types").symlink_to(ROOT / "geograph_types")
    (place / "predict.py").symlink_to(ROOT / "predict.py")
    (place / ".venv").symlink_to(sys.prefix)
    landscape(320, 240).save(place / "photo.jpg")
    make_official_checkpoint(place / "geograph-type-classifier", place / "best_geograph_model.pth")
    make_tiny_tower(place / "tower")
    return place


def test_every_block_runs(place, tmp_path):
    pages = {
        "README.md": (ROOT / "README.md").read_text(encoding="utf-8"),
        "model_card.md": published_card("models", "user/geograph-type-classifier"),
        "dataset_card.md": published_card("datasets", "user/geograph-types"),
    }
    blocks = [(name, blocks_of(text)) for name, text in pages.items()]
    assert all(found for _, found in blocks), "each page shows code"
    assert '"user/geograph-type-classifier"' in pages["model_card.md"], "a page names its own repository"
    assert '"user/geograph-types"' in pages["dataset_card.md"]
    hub = pushed().hub
    hub.put("models", VISION_MODEL, place / "tower", commit=VISION_MODEL_REVISION)
    done = subprocess.run(
        [sys.executable, "-c", RUN_PAGES],
        input=json.dumps(blocks),
        env=hub_environment(hub.url, tmp_path, user=""),
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_shell_lines_of_the_quick_start_run(place):
    """Those that need neither a network nor minutes, in a clone after `make demo`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = "".join(m[2] for m in SHELL.finditer(text) if not m[1])
    assert "predict.py" in lines
    done = subprocess.run(["bash", "-ec", lines], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (place / "demo" / "answers.parquet").is_file()


@pytest.mark.parametrize(
    "page", ["README.md", "model_card.md", "dataset_card.md", "geograph_types/space/space_card.md"]
)
def test_no_block_is_left_out_without_a_reason(page):
    """`not run` is for what needs a network or hours; most of a page must run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    left_out = sum(bool(mark) for mark, _ in blocks)
    assert left_out <= max(1, len(blocks) // 3), f"{left_out} blocks of {page} are left out"
