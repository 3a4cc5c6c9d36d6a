"""The dataset folder: built beside its place, moved there whole, and replaced only where this project made all of it.

A mark in the folder lists the files that were written. What it does not list, or what was changed since, is somebody's
own: then nothing is replaced. The mark begins with a dot, so that neither `load_dataset` nor publish.py sees it.
"""

import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.files import full_disk_named, is_alive, sha256_of, temporary_while_it_lasts, write_json

MARK = ".geograph-types.json"
# Files up to this size may hold what a person wrote into them: their content counts, not their size alone.
READABLE = 1 << 20
# What file managers leave in every folder that somebody looks at.
DROPPINGS = {".DS_Store", "Thumbs.db", "desktop.ini"}


@contextmanager
def folder_in_place(final: Path, sources: Iterable[str] = ()) -> Iterator[Path]:
    """A folder to build in, beside the final one, which it replaces only when the block ends without an error.

    Raises:
        CommandError: what stands there must not be replaced, or a source lies in it.
    """
    check_output(final, sources)
    final.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(final.parent, os.W_OK | os.X_OK):
        raise CommandError(f"{final.parent}: no right to write there; name another --output_dir")
    _remove_abandoned(final)
    building = final.with_name(f".{final.name}.building-{os.getpid()}")
    building.mkdir()
    try:
        with full_disk_named(final), temporary_while_it_lasts(building):
            yield building
            write_mark(building)
        try:
            check_output(final)  # people may have put something there while this ran
        except CommandError as error:
            kept = final.with_name(f"{final.name}.new-{os.getpid()}")
            building.rename(kept)
            raise CommandError(f"{error}; the new dataset is in {kept}") from None
        old = final.with_name(f".{final.name}.old-{os.getpid()}")
        if final.exists():
            final.rename(old)
        building.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def check_output(final: Path, sources: Iterable[str] = ()) -> None:
    """Refuses, before any work, an output that cannot or must not be replaced."""
    if final.is_symlink():
        raise CommandError(f"{final}: a link to {final.readlink()}; name that folder itself as --output_dir")
    for source in sources:
        _check_source(source, final)
    if not final.exists():
        return
    if not final.is_dir():
        raise CommandError(f"{final}: exists and is no folder; name another --output_dir")
    if os.path.ismount(final):
        raise CommandError(f"{final}: a mount point, which cannot be replaced; name a folder in it")
    if not any(final.iterdir()):
        return
    written = read_mark(final)
    if written is None:
        raise CommandError(
            f"{final}: exists without the mark of what prepare_dataset.py made ({MARK}; version 1.0.0 left none); "
            "name another --output_dir or remove it"
        )
    for path in files_in(final):
        name = path.relative_to(final).as_posix()
        if name not in written or (path.is_file() and not _is_as_written(path, written[name])):
            what = "was changed since it was written" if name in written else "is not of prepare_dataset.py"
            raise CommandError(f"{final}: {name} in it {what}; move it away or name another --output_dir")


def _check_source(source: str, final: Path) -> None:
    """A source in the output would be replaced by it; an output in the source would be read as rows."""
    if source == "-" or "://" in source or source.startswith("synthetic:"):
        return
    target = final.resolve()
    for path in map(Path, [source, *glob.glob(source, recursive=True)]):  # noqa: PTH207 (a pattern, absolute or not)
        place = path.resolve()
        if place.is_relative_to(target):
            raise CommandError(f"{source}: lies in --output_dir {final}, which is replaced; name another one")
        if target.is_relative_to(place) and final.exists():
            raise CommandError(f"{final}: lies in the source {source}; name an --output_dir outside of it")


def files_in(folder: Path) -> Iterator[Path]:
    """All that could be lost: everything that is no folder, links to folders included; but for the mark and droppings.

    Raises:
        OSError: a folder that cannot be looked into.
    """

    def refuse(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=refuse):
        for name in sorted([*files, *(name for name in folders if Path(place, name).is_symlink())]):
            path = Path(place, name)
            if name not in DROPPINGS and path != folder / MARK:
                yield path


def write_mark(folder: Path) -> None:
    """Lists what is in the folder."""
    files = {path.relative_to(folder).as_posix(): _described(path) for path in files_in(folder)}
    write_json(folder / MARK, {"written_by": "prepare_dataset.py", "files": files})


def read_mark(folder: Path) -> dict[str, dict] | None:
    """File → its size, and its SHA-256 where it is small; None without a mark."""
    try:
        files = json.loads((folder / MARK).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None


def _described(path: Path) -> dict:
    size = path.stat().st_size
    return {"size": size} | ({"sha256": sha256_of(path)} if size <= READABLE else {})


def _is_as_written(path: Path, told: dict) -> bool:
    return not path.is_symlink() and _described(path) == told


def _remove_abandoned(final: Path) -> None:
    """What a killed run left: its process is gone, so nobody will finish it."""
    for path in final.parent.glob(f".{glob.escape(final.name)}.*-*"):
        kind, _, pid = path.name.removeprefix(f".{final.name}.").partition("-")
        if kind not in ("building", "old") or not pid.isdigit() or is_alive(int(pid)):
            continue
        if kind == "old" and not final.exists():  # killed between the two renames: what stood there stands there again
            path.rename(final)
        else:
            shutil.rmtree(path, ignore_errors=True)
