"""`pip install .` as a user's pip does it, with the library's own metadata, where torch is installed already."""

import os
import re
import site
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXTRAS = ("train", "predict", "space", "ray", "onnx", "heic", "test")

USED = """
import sys
import geograph_types
assert "torch" not in sys.modules
assert "site-packages" in geograph_types.__file__, geograph_types.__file__
from configuration_geograph import CLASSES, GeographConfig
from modeling_geograph import GeographModel
from geograph_types.files import resource
from geograph_types.hub.model_folder import save_model_repository
for name in ("config.json", "model_card.md", "dataset_card.md", "requirements.txt", "metrics/geograph_types"):
    assert resource(name).exists(), name
save_model_repository(GeographModel(GeographConfig()), "model")
from transformers import pipeline
answer = pipeline("geograph-types", model="model", trust_remote_code=True)({"embedding": [0.5] * 512}, distance=16)
assert answer["types"] and answer["error"] is None, answer
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """A fresh environment that sees the libraries of this one (nothing is downloaded twice) and not the project."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return folder / "bin" / "python"


def run(python: Path, *arguments: str, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([python, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_pip_install_and_use(python, tmp_path):
    pytest.importorskip("hatchling")
    wanted = f"{ROOT}[{','.join(EXTRAS)}]"
    # No index: whatever the metadata asks for must be what the lock file installed.
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", wanted, cwd=tmp_path)
    run(python, "-c", USED, cwd=tmp_path)


def test_the_lock_file_pins_what_the_metadata_names():
    """Each dependency and extra has one exact version in the file that `make install` takes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.match(r"[\w.-]+", d)[0].replace("_", "-").lower() for d in named} - {project["name"]}
    lock = (ROOT / "requirements-lock.txt").read_text()
    pins = {m[1].replace("_", "-").lower() for m in re.finditer(r"^([\w.-]+)(?:\[\w+\])?==", lock, re.MULTILINE)}
    assert names <= pins, names - pins
    travelling = re.findall(r"^[\w.-]+>=\S+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert set(travelling) <= {d.split(" #")[0] for d in named}, "what travels and what installs say the same"
