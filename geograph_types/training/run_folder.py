"""The folder of a run: what it was begun with, whether that is what is asked for now, where to go on.

Only the first of several processes calls these.
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.files import write_json
from geograph_types.hub.run_files import FINISHED, OUT_OF_FOLD, SETTINGS, WEIGHTS, written_by_runs
from geograph_types.rows.fields import Rows
from geograph_types.training import checkpoints
from geograph_types.training.arguments import Arguments

# Flags that do not make one run another: where it lies, how far it goes, what it prints.
FREE = {
    "num_train_epochs",
    "output_dir",
    "overwrite_output_dir",
    "push_to_hub",
    "allow_synthetic",
    "disable_tqdm",
    "logging_dir",
    "local_rank",
    "do_train",
    "do_eval",
    "do_predict",
    "ddp_timeout",
    "project",
    "debug",
}
FREE_PREFIXES = ("hub_", "log", "report_to", "run_name", "accelerator_config", "use_cpu", "resume_from", "trackio")


def settings_of(arguments: Arguments, processes: int, **rows: Rows | None) -> dict:
    """What makes one run another: flags, and a fingerprint of the rows of each split."""
    settings: dict = {"processes": processes}
    for part in arguments:
        settings |= part.to_dict() if hasattr(part, "to_dict") else asdict(part)
    kinds = str | int | float | bool | list | None
    kept = {
        name: value
        for name, value in sorted(settings.items())
        if name not in FREE and not name.startswith(FREE_PREFIXES) and isinstance(value, kinds)
    }
    return kept | {f"{split}_rows": fingerprint(part) for split, part in rows.items()}


def fingerprint(rows: Rows | None) -> str | None:
    """SHA-256 of what the rows hold, whatever files they lie in."""
    if rows is None:
        return None
    digest = hashlib.sha256()
    for name in ("gridimage_id", "tags", "distance", "weight", "embedding"):
        digest.update(memoryview(getattr(rows, name)).cast("B"))
    return digest.hexdigest()


def key_of(settings: dict) -> str:
    """One short text for all settings: what files of intermediate results are tied to."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def remove_earlier_run(output: Path) -> None:
    """All that runs of train.py and evaluate_model.py leave; what people put there stays."""
    if output.is_dir():
        for path in written_by_runs(output):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        checkpoints.remove_unfinished(output)


def checkpoint_to_go_on_from(output: Path, settings: dict, named: str | None = None) -> str | None:
    """The checkpoint that `named` names, or the newest whole one; None in a fresh folder.

    Raises:
        CommandError: a run with other settings or data; a named checkpoint that is not there, or not whole.
    """
    if output.exists() and not output.is_dir():
        raise CommandError(f"{output}: a file; name a folder as --output_dir")
    known = _settings_in(output)
    checkpoints.remove_unfinished(output)
    found = checkpoints.last_whole_checkpoint(output) if output.is_dir() and not _is_named(named) else None
    other = known is not None and any(known.get(name) != settings.get(name) for name in known | settings)
    if other and not found and not (output / FINISHED).is_file():
        (output / OUT_OF_FOLD).unlink(missing_ok=True)  # it failed before anything that is worth going on from
    elif other:
        raise CommandError(_difference(output, known, settings))
    if known is None and (found or (output / WEIGHTS).is_file()):
        what = "checkpoints" if found else "a model"
        raise CommandError(
            f"{output} holds {what} and no {SETTINGS}, so that nothing says what was learnt there; name another "
            "--output_dir, or --overwrite_output_dir starts anew"
        )
    if _is_named(named):
        found = Path(named)
        if not found.is_dir() or (fault := checkpoints.what_is_broken(found)):
            raise CommandError(f"--resume_from_checkpoint {named}: {fault if found.is_dir() else 'no such folder'}")
    if found:
        _bring_the_best_along(found)
    return None if found is None else str(found)


def _is_named(named: str | None) -> bool:
    """Whether --resume_from_checkpoint names one; True and False mean the newest, as they do for Trainer."""
    return named not in (None, "", "True", "true", "False", "false", True, False)


def _settings_in(output: Path) -> dict | None:
    path = output / SETTINGS
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise CommandError(f"{path} is damaged; --overwrite_output_dir starts anew") from None


def _difference(output: Path, known: dict, settings: dict) -> str:
    name = next(key for key in known | settings if known.get(key) != settings.get(key))
    if name.endswith("_rows"):
        split = name.removesuffix("_rows")
        what = f"a run on other {split} rows than the dataset holds now"
        if name not in known:
            what = f"a run that did not note its {split} rows, as version 1.0.0 did not"
    else:
        what = f"a run with {name} {known.get(name)!r}, not {settings.get(name)!r}"
    return f"{output} holds {what}; give the same to go on with it, or --overwrite_output_dir to start anew"


def _bring_the_best_along(checkpoint: Path) -> None:
    """A folder that was moved since says where its best checkpoint was; it moved, too."""
    state = json.loads((checkpoint / checkpoints.STATE).read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    beside = checkpoint.parent / Path(best).name if best else None
    if beside and not Path(best).is_dir() and beside.is_dir():
        checkpoints.set_best(checkpoint, beside)


def is_finished(output: Path, epochs: float) -> bool:
    """Whether an earlier run did all that is asked for; one that did less is no longer finished.

    `max_steps` is among the settings that both runs share.
    """
    path = output / FINISHED
    if not path.is_file():
        return False
    if json.loads(path.read_text(encoding="utf-8")).get("num_train_epochs", epochs) >= epochs:
        return True
    path.unlink()
    return False


def begin(output: Path, settings: dict) -> None:
    """Claims the folder for this run; only once its rows were read, so that a mistyped name leaves nothing."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / SETTINGS, settings)
