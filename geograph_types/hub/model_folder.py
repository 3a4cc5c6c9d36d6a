"""A model folder as the Hub wants it: weights, the files that travel with them, a filled card."""

import json
import shutil
from pathlib import Path

from geograph_types.files import ROOT, resource

# They travel to the Hub with every model, so that `trust_remote_code=True` finds all it needs.
TRAVELLING_FILES = (
    "names_geograph.py",
    "configuration_geograph.py",
    "grid_geograph.py",
    "row_geograph.py",
    "modeling_geograph.py",
    "photos_geograph.py",
    "encoder_geograph.py",
    "decision_geograph.py",
    "pipeline_geograph.py",
)
REQUIREMENTS = "requirements.txt"
# What config.json names besides the values of a GeographConfig.
CODE_KEYS = ("auto_map", "custom_pipelines", "architectures")


def save_model_repository(model, output_dir: str | Path) -> None:
    """`save_pretrained`, and all that it leaves out: the pipeline's file, requirements, where the code is."""
    output_dir = Path(output_dir)
    model.save_pretrained(output_dir)
    add_travelling_files(output_dir)


def add_travelling_files(folder: Path) -> None:
    """Completes a folder that `save_pretrained` wrote."""
    for name in TRAVELLING_FILES:
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copyfile(resource(REQUIREMENTS), folder / REQUIREMENTS)
    default = json.loads(resource("config.json").read_text())
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {key: default[key] for key in CODE_KEYS}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
