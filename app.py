"""The Space: a photo or an embedding in, its types out, with the reasons. Locally:

    python app.py --model geograph-type-classifier [--vision_model NAME_OR_DIR] [--port N]

Without `--model` it takes the folder `model` beside this file, else the model that the README.md beside it names.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from geograph_types import cli

HERE = Path(__file__).resolve().parent
MODEL_FOLDER = "model"
# Names the folder for uploads in the place of the system's memory or temporary folder.
UPLOADS = "GEOGRAPH_SPACE_UPLOADS"
# Read when the libraries are imported: nothing is reported to anyone, little is remembered of past calls, and a Hub
# that does not answer keeps no visitor waiting.
SETTINGS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_ETAG_TIMEOUT": "4",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "50",
}


@dataclass
class AppArguments:
    model: str | None = field(default=None, metadata={"help": "a model folder or Hub id"})
    revision: str | None = field(default=None, metadata={"help": "of a model on the Hub: a commit or tag"})
    vision_model: str | None = field(default=None, metadata={"help": "CLIP's vision tower: a Hub id or a folder"})
    port: int = field(default=7860, metadata={"help": "where the page is served"})


def main() -> None:
    (args,) = cli.parse_flags(AppArguments, description=__doc__)
    name = args.model or model_beside()
    os.environ.update(SETTINGS)
    from geograph_types.space.model import SpaceModel
    from geograph_types.space.uploads import Uploads

    space = SpaceModel(name, args.vision_model, args.revision)
    uploads = Uploads([Path(os.environ[UPLOADS])] if os.environ.get(UPLOADS) else None)
    try:
        os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
        from geograph_types.space import page, server

        blocks = page.build(space, uploads)
        server.launch(blocks, uploads, args.port)
        server.serve_until_told(blocks, uploads)
    finally:
        uploads.remove()


def model_beside() -> str:
    """The model of a Space: it lies beside this file, or its name stands in the README.md.

    Raises:
        CommandError: neither.
    """
    if (HERE / MODEL_FOLDER / "config.json").is_file():
        return str(HERE / MODEL_FOLDER)
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if match := re.search(r"^models:\s*\n\s*-\s*(\S+)", text, re.MULTILINE):
        return match[1]
    raise cli.CommandError("no model: name one with --model DIR, such as the folder that train.py made")


if __name__ == "__main__":
    cli.run(main)
