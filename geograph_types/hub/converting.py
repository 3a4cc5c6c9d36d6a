"""An official `.pth` file → a model folder, in the place of an older one only where that is asked for."""

import shutil
import tempfile
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.hub.model_card import write_card
from geograph_types.hub.model_folder import save_model_repository
from geograph_types.hub.official import origin_of, published_results
from geograph_types.hub.run_files import WEIGHTS, written_by_runs


def convert(path: Path, output: Path, version: str | None, overwrite: bool = False) -> None:
    """Writes the model of an official checkpoint, and its card, to `output`.

    Args:
        version: the official version that the file is, or None.
        overwrite: whether an older model there, its results and its checkpoints, is removed first.

    Raises:
        CommandError: another model is there. ValueError: the file is no official checkpoint, or holds NaN.
    """
    from transformers.utils import logging

    from modeling_geograph import GeographModel

    if output.exists() and not output.is_dir():
        raise CommandError(f"{output}: exists and is no folder; name another --output_dir")
    model, checkpoint = GeographModel.load_checkpoint(path)
    output.parent.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        made = Path(scratch) / output.name
        save_model_repository(model, made)
        origin = origin_of(path.name, version, checkpoint.get("epoch"))
        write_card(made, model.config, None, origin=origin, published=published_results(version))
        _put(made, output, overwrite)


def _put(made: Path, output: Path, overwrite: bool) -> None:
    """Moves the files in; weights last, since they make it a model."""
    older = [file for file in written_by_runs(output) if file.name != "README.md"]
    if older and not overwrite and not _is_same(older, made):
        raise CommandError(
            f"{output}: a model is there already ({older[0].name}); name another --output_dir, or say "
            "--overwrite_output_dir"
        )
    for file in older:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    output.mkdir(exist_ok=True)
    for file in sorted(made.iterdir(), key=lambda file: file.name == WEIGHTS):
        file.replace(output / file.name)


def _is_same(older: list[Path], made: Path) -> bool:
    """Whether this very conversion was made there before, and nothing else."""
    return [file.name for file in older] == [WEIGHTS] and older[0].read_bytes() == (made / WEIGHTS).read_bytes()
