"""A model's weights, safetensors alone: that they are what its config asks for is known before they are read."""

import json
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What older libraries saved: loading one of these runs whatever is in it.
PICKLES = ("pytorch_model.bin", "model.pt", "model.pth", "model.pkl", "model.ckpt")


def check_weights(folder: Path, model: str, empty: Any) -> list[Path]:
    """The files of the weights, their headers compared with the model that the config asks for.

    So nothing is made up, nor allocated in vain.

    Args:
        model: its name, for messages. empty: it without numbers.

    Raises:
        CommandError: one line: weights that lack something, do not fit the config, or are no safetensors.
    """
    expected = {name: list(value.shape) for name, value in empty.state_dict().items()}
    stored: dict[str, list[int]] = {}
    files = _weight_files(folder, model)
    for file in files:
        stored |= _shapes(file, f"{model}/{file.name}")
    if missing := sorted(expected.keys() - stored.keys()):
        raise CommandError(f"{model}: its weights lack {', '.join(missing[:5])}")
    if odd := sorted(stored.keys() - expected.keys()):
        raise CommandError(f"{model}: its weights hold {', '.join(odd[:5])}, which the model does not have")
    for name, shape in expected.items():
        if stored[name] != shape:
            raise CommandError(
                f"{model}: the weights do not fit its config.json: {name} is {stored[name]}, "
                f"the config asks for {shape}"
            )
    return files


def _weight_files(folder: Path, model: str) -> list[Path]:
    """One file, or those that an index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    index = folder / INDEX
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CommandError(f"{model}/{INDEX} is damaged; fetch or make the model again") from None
        files = [folder / Path(str(name)).name for name in sorted(names, key=str)]
        if absent := [file.name for file in files if not file.is_file()]:
            raise CommandError(f"{model}: {INDEX} names {absent[0]}, which is not there")
        return files
    if pickles := [name for name in PICKLES if (folder / name).exists()]:
        raise CommandError(
            f"{model}: its weights are a pickle ({pickles[0]}), which can run code; save them as {WEIGHTS}"
        )
    raise CommandError(f"{model}: no model there: it has no {WEIGHTS}")


def _shapes(file: Path, where: str) -> dict[str, list[int]]:
    """Each weight's shape from a safetensors file's header; no weight is read."""
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as stream:
        head = stream.read(8)
    if head[:1] == b"\x80" or head[:2] == b"PK":
        raise CommandError(f"{where} is a pickle, which can run code, under a false name; save it as safetensors")
    if head == b"version ":
        raise CommandError(f"{where} is a pointer of git-lfs, not the weights: run `git lfs pull`")
    try:
        with safe_open(file, framework="numpy") as weights:
            return {name: list(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except SafetensorError as error:
        reason = (str(error).splitlines() or ["cut short"])[0]
        raise CommandError(f"{where} is damaged or cut short ({reason}); fetch or make it again") from None
