"""The model for those who run none of this code: ONNX, and the JSON that the site's PHP port reads.

    python export_model.py --model geograph-type-classifier --output_dir exported
    python export_model.py --model geograph-type-classifier --output_dir exported --formats onnx --with_tower

model.onnx takes `embedding` [B, 512] and `distance` [B] (buckets 0 to 22) and gives `logits` and `probabilities`;
photo_model.onnx (--with_tower) takes `pixels` [B, 224, 224, 3] in the place of vectors. Neither needs
trust_remote_code. docs/exports.md shows both, and PHP, at work.
"""

from dataclasses import dataclass, field
from pathlib import Path

from geograph_types.cli import CommandError, parse_flags, run

FORMATS = ("onnx", "json")


@dataclass
class ExportArguments:
    model: str = field(metadata={"help": "model folder, or Hub id"})
    output_dir: str = field(metadata={"help": "where the files go"})
    formats: str = field(default="onnx,json", metadata={"help": "onnx, json, or both with a comma"})
    with_tower: bool = field(default=False, metadata={"help": "also photo_model.onnx, from a photo's pixels"})
    vision_model: str | None = field(default=None, metadata={"help": "the CLIP tower; default: the model's own"})
    revision: str | None = field(default=None, metadata={"help": "of a model on the Hub: a commit or tag"})

    def __post_init__(self):
        self.chosen = [name.strip() for name in self.formats.split(",") if name.strip()]
        if odd := [name for name in self.chosen if name not in FORMATS]:
            raise ValueError(f"--formats must be of {', '.join(FORMATS)}, got {odd[0]!r}")
        if not self.chosen:
            raise ValueError("--formats names none; expected onnx, json or both")
        if self.with_tower and "onnx" not in self.chosen:
            raise ValueError("--with_tower is a graph: let --formats name onnx")


def main() -> None:
    (args,) = parse_flags(ExportArguments, description=__doc__)
    from geograph_types.hub.models import load_model

    if "onnx" in args.chosen:
        need_onnx()
    model = load_model(args.model, args.revision, "cpu")
    output = Path(args.output_dir)
    if output.exists() and not output.is_dir():
        raise CommandError(f"{output}: a file; name a folder as --output_dir")
    if "json" in args.chosen:
        export_json(model, output)
    if "onnx" in args.chosen:
        export_head(model, output)
    if args.with_tower:
        export_tower(model, args.vision_model, output)


def need_onnx() -> None:
    """Says what to install before anything is loaded."""
    from importlib.util import find_spec

    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise CommandError(f"ONNX needs {' and '.join(missing)}: pip install {' '.join(missing)}, or --formats json")


def export_json(model, output: Path) -> None:
    from geograph_types.export.weights_json import write_weights_json

    write_weights_json(model, output / "weights.json")
    print(f"{output / 'weights.json'}: for GeographTypesModel of geograph-project/mlp-models")


def export_head(model, output: Path) -> None:
    from geograph_types.export.check import head_difference
    from geograph_types.export.onnx_head import write_head

    path = output / "model.onnx"
    write_head(model, path)
    difference = head_difference(model, path)
    print(f"{path}: embedding, distance → logits, probabilities; at most {difference:.0e} from the model")


def export_tower(model, vision_model: str | None, output: Path) -> None:
    from geograph_types.export.check import tower_difference
    from geograph_types.export.onnx_tower import load_tower, write_with_tower

    path = output / "photo_model.onnx"
    tower, processor = load_tower(model.config, vision_model)
    write_with_tower(model, tower, processor, path)
    difference = tower_difference(model, tower, processor, path)
    print(f"{path}: pixels, distance → embedding, logits, probabilities; at most {difference:.0e} from the model")


if __name__ == "__main__":
    run(main)
