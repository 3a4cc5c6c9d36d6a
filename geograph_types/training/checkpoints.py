"""Checkpoints that are whole or not there: saved beside their name and renamed, and looked at before one goes on.

transformers writes a checkpoint in place, file by file, so that a kill or a full disk leaves half of one.
"""

import json
import shutil
import struct
import zipfile
from pathlib import Path

from geograph_types import cli
from geograph_types.files import write_json

STATE = "trainer_state.json"
WEIGHTS = "model.safetensors"
# Folders with this end are unfinished, or about to be removed; the next start removes them.
UNFINISHED = ".unfinished"


def scratch_of(checkpoint: Path) -> Path:
    """Where a checkpoint is written before it appears under its name."""
    return checkpoint.with_name(f".{checkpoint.name}{UNFINISHED}")


def remove_unfinished(output: Path) -> None:
    """What killed runs left half written or half removed."""
    for path in output.glob(f".*{UNFINISHED}"):
        shutil.rmtree(path, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """A folder that is under its name whole or not at all, also when this is stopped in the middle."""
    hidden = path.with_name(f".{path.name}.removed{UNFINISHED}")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def appear(scratch: Path, checkpoint: Path) -> None:
    """Renames a written folder to its own name, in the place of one that stands there."""
    if checkpoint.exists():
        remove_folder(checkpoint)
    scratch.rename(checkpoint)


def steps_of(checkpoint: Path) -> int:
    """The update after which it was saved."""
    return int(checkpoint.name.rpartition("-")[2])


def all_checkpoints(output: Path) -> list[Path]:
    """Oldest first, by their number."""
    found = [path for path in output.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdecimal()]
    return sorted(found, key=steps_of)


def keep_newest(output: Path, limit: int | None, best: str | None) -> None:
    """Removes all but the newest `limit` checkpoints; the best one is among those that stay, as in Trainer."""
    if not limit or limit < 0:
        return
    checkpoints = all_checkpoints(output)
    kept = {checkpoints[-1].name} | ({Path(best).name} if best else set())
    for path in checkpoints[::-1]:
        if len(kept) < limit:
            kept.add(path.name)
    for path in checkpoints:
        if path.name not in kept:
            remove_folder(path)


def last_whole_checkpoint(output: Path) -> Path | None:
    """The newest checkpoint that can be gone on from; those passed over are named on stderr."""
    for path in reversed(all_checkpoints(output)):
        if (fault := what_is_broken(path)) is None:
            return path
        cli.say(f"{path} is not whole ({fault}); looking for the one before")
    return None


def what_is_kept(output: Path, overwrites: bool) -> str:
    """What a stopped run tells a person: what is kept of it, and how to go on. It only reads.

    Args:
        overwrites: whether the command says `--overwrite_output_dir`, which would remove it.
    """
    command = "the same command without --overwrite_output_dir" if overwrites else "the same command"
    for path in reversed(all_checkpoints(output)):
        if what_is_broken(path) is None:
            return f"{path} is kept; {command} goes on from it"
    return "it had no checkpoint yet; the same command starts it again"


def what_is_broken(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be gone on from, in a few words; None where it can."""
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        _look_at_safetensors(checkpoint / WEIGHTS)
        for name in ("optimizer.pt", "scheduler.pt"):
            if not zipfile.is_zipfile(checkpoint / name):
                return f"{name} is missing or cut short"
    except FileNotFoundError as error:
        return f"no {Path(error.filename).name}"
    except (OSError, ValueError) as error:
        return str(error).splitlines()[0]
    for path in checkpoint.glob("rng_state*.pth"):
        if not zipfile.is_zipfile(path):
            return f"{path.name} is cut short"
    return None


def _look_at_safetensors(path: Path) -> None:
    """Raises ValueError where the file is shorter or longer than its header says."""
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < size < path.stat().st_size:
            raise ValueError(f"{path.name} is cut short")
        try:
            header = json.loads(file.read(size))
        except ValueError:
            raise ValueError(f"{path.name} is damaged") from None
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if 8 + size + max(ends, default=0) != path.stat().st_size:
        raise ValueError(f"{path.name} is cut short")


def set_best(checkpoint: Path, best: Path | None) -> None:
    """Rewrites where a checkpoint's state says that the best one lies: a moved folder takes its own along."""
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    state["best_model_checkpoint"] = None if best is None else str(best)
    write_json(checkpoint / STATE, state)
