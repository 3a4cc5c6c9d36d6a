"""A model folder as the Hub wants it: weights, the files that travel with them, a filled card."""

import shutil
from pathlib import Path

from geograph_types.files import resource

# They travel to the Hub with every model, so that `trust_remote_code=True` finds all it needs.
TRAVELLING_FILES = (
    "names_geograph.py",
    "configuration_geograph.py",
    "grid_geograph.py",
    "row_geograph.py",
    "layers_geograph.py",
    "modeling_geograph.py",
    "degrees_geograph.py",
    "places_geograph.py",
    "files_geograph.py",
    "photos_geograph.py",
    "towers_geograph.py",
    "encoder_geograph.py",
    "decision_geograph.py",
    "items_geograph.py",
    "pipeline_geograph.py",
)
REQUIREMENTS = "requirements.txt"
# What config.json names besides the values of a GeographConfig.
CODE_KEYS = ("auto_map", "custom_pipelines", "architectures")


def save_model_repository(model, output_dir: str | Path) -> None:
    """`save_pretrained`, which brings the code along, and what pip needs to run it."""
    output_dir = Path(output_dir)
    model.save_pretrained(output_dir)
    shutil.copyfile(resource(REQUIREMENTS), output_dir / REQUIREMENTS)
