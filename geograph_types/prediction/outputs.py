"""Where answers go: never onto what they are made from; of several shards, one manifest says which there are."""

import fcntl
import json
from pathlib import Path
from typing import Any

from geograph_types.cli import CommandError, say
from geograph_types.files import sha256_of, write_json
from geograph_types.prediction.inputs import Input

MANIFEST = ".manifest.json"


def check_output(output: str, asked: Input) -> None:
    """Refuses an output that is an input, by whatever name or link, or lies in a folder that is one.

    Raises:
        CommandError: which input it would destroy or mix with.
    """
    partial = Path(f"{output}.partial")
    for part in asked.parts:
        source = Path(part.source)
        if not source.exists():
            continue
        if source.is_dir():
            if Path(output).resolve().is_relative_to(source.resolve()):
                raise CommandError(f"{output}: inside the input {part.name}; put the answers beside it")
        elif _same(Path(output), source) or source.resolve().is_relative_to(partial.resolve()):
            raise CommandError(f"{output}: is the input {part.name} itself; give the answers another name")


def _same(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve() or (a.exists() and a.samefile(b))


def parse_shard(text: str | None) -> tuple[int, int]:
    """ "2/8" → (1, 8): the second of eight.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return 0, 1
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ValueError(f"--shard must be I/N with I from 1 to N, such as 2/8, got {text!r}")
    return int(index) - 1, int(count)


def shard_name(output: str, shard: tuple[int, int]) -> str:
    """answers.parquet, (1, 8) → answers-00002-of-00008.parquet; the name itself where there is one shard."""
    if shard[1] == 1:
        return output
    path = Path(output)
    return str(path.with_name(f"{path.stem}-{shard[0] + 1:05d}-of-{shard[1]:05d}{path.suffix}"))


def note_shard(output: str, shard: tuple[int, int], counts: dict[str, int], identity: dict[str, Any]) -> Path:
    """Adds a finished shard to the one manifest of all of them, and says where it stands.

    OUTPUT's manifest holds `shards` (their number), `complete`, `rows`, `errors`, and of each file that is done its
    name, shard (from 1), rows, errors and SHA-256, in order. Shards of another input or model are not listed together.
    """
    path = Path(output)
    manifest, file = path.with_name(f"{path.stem}{MANIFEST}"), Path(shard_name(output, shard))
    common = {name: value for name, value in identity.items() if name != "shard"}
    common = json.loads(json.dumps(common))
    with (manifest.with_name(f".{manifest.name}.lock")).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            known = json.loads(manifest.read_text(encoding="utf-8"))
            files = known["files"] if known["made_from"] == common and known["shards"] == shard[1] else None
        except (OSError, ValueError, KeyError, TypeError):
            files = []
        if files is None:
            say(f"{manifest}: of another input, model or number of shards; starting anew")
            files = []
        own = {"file": file.name, "shard": shard[0] + 1, **counts, "sha256": sha256_of(file)}
        files = sorted([f for f in files if f["shard"] != own["shard"]] + [own], key=lambda f: f["shard"])
        complete = len(files) == shard[1]
        totals = {name: sum(f[name] for f in files) for name in ("rows", "errors")}
        write_json(manifest, {"shards": shard[1], "complete": complete, **totals, "files": files, "made_from": common})
    left = shard[1] - len(files)
    say(f"{manifest}: {'all shards are there' if complete else f'{left} of {shard[1]} shards to come'}")
    return manifest
