"""Where rows come from: files, folders and globs of them, addresses, the Hub, standard input, made-up rows.

What a file is shows in its content; its name counts only where that does not say. What is none of ours is named.
"""

import glob
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.files import full_disk_named
from geograph_types.rows import formats, json_text
from geograph_types.rows.addresses import download, is_url, kept_version, public_name
from geograph_types.rows.jsonl import rows_in
from geograph_types.rows.parquet import schema_of
from geograph_types.rows.published import CONFIGS
from geograph_types.rows.readers import BLOCK_SIZE, JSON, PARQUET, PHOTOS, SYNTHETIC, TABLE, Block, Source
from geograph_types.rows.splits import SPLITS
from geograph_types.rows.streams import is_utf8, open_file, unpacked
from geograph_types.rows.stretches import can_be_mapped
from row_geograph import EMBEDDING_NAMES, shown

__all__ = [
    "BLOCK_SIZE",
    "PARQUET",
    "PHOTOS",
    "Block",
    "Source",
    "dataset_files",
    "download",
    "is_url",
    "line_blocks",
    "open_source",
    "public_name",
]

STDIN = ("-", "/dev/stdin", "/dev/fd/0")
# In a prepared folder, and no rows of it.
NOT_ROWS = ("rejected.jsonl",)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def open_source(source: str, photo_folders: bool = True) -> list[Source]:
    """All files of a source, each with its kind, in the order in which they are read.

    Args:
        source: a file, a folder or glob of files, an address, `-`, `synthetic:N[:SEED]`, or a dataset's id on the Hub.
        photo_folders: whether a folder may be one of photos to be answered.

    Raises:
        CommandError: it is not there, or is nothing that holds rows; one line that says what it is.
    """
    path = Path(source)
    if source.startswith(SYNTHETIC):
        from geograph_types.rows.synthetic import parse_spec

        parse_spec(source)
        return [Source(source, JSON, origin=source)]
    if source in STDIN:
        return [_of_stream("standard input", unpacked("standard input", _buffered(sys.stdin.buffer)))]
    if is_url(source):
        found = _of_file(public_name(source), download(source))
        found.version, found.origin, found.fetched = kept_version(source), source, True
        return [found]
    if path.is_dir():
        return _of_folder(source, path, photo_folders)
    if path.exists():
        return [_of_file(public_name(source), path)]
    if glob.has_magic(source):
        names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 (absolute patterns, too)
        if not names:
            raise CommandError(f"{source}: no such files")
        return [part for name in names for part in open_source(name, photo_folders)]
    if _HUB_ID.fullmatch(source) and not formats.is_data(source):
        return _of_hub(source, photo_folders)
    raise CommandError(f"{public_name(source)}: no such file or folder")


def _buffered(file) -> io.BufferedReader:
    """Standard input as a reader that can look ahead, whatever stands in for it."""
    return file if hasattr(file, "peek") else io.BufferedReader(file)


def _of_file(name: str, path: Path) -> Source:
    if not path.is_file():  # a pipe can be read but once
        return _of_stream(name, unpacked(name, open_file(name, path)))
    with open_file(name, path) as raw:
        if raw.peek(4)[:4] == formats.PARQUET_MAGIC:
            found = _of_parquet(name, path)
        else:
            file = unpacked(name, raw)
            head = _head(name, file)
            if head[:4] == formats.PARQUET_MAGIC:
                found = _of_packed_parquet(name, head, file)
            else:
                found = _of_text(name, head)
                found.path = path
                lines = found.kind == JSON and found.shape == json_text.LINES and is_utf8(head)
                found.plain = lines and file is raw and can_be_mapped(path)
    found.origin = str(path)
    return found


def _of_stream(name: str, file: io.BufferedReader) -> Source:
    head = _head(name, file)
    if head[:4] == formats.PARQUET_MAGIC:
        return _of_packed_parquet(name, head, file)
    found = _of_text(name, head)
    found.stream = io.BufferedReader(_Rejoined(head, file), 1 << 20)
    return found


class _Rejoined(io.RawIOBase):
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, rest: io.BufferedReader):
        self.head, self.rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data, self.head = self.head[: len(buffer)], self.head[len(buffer) :]
        data = data or self.rest.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _head(name: str, file: io.BufferedReader) -> bytes:
    """The beginning of a file, which is read by this."""
    head = b""
    while len(head) < formats.HEAD_BYTES:
        try:
            chunk = file.read1(formats.HEAD_BYTES - len(head))
        except OSError as error:
            raise CommandError(f"{name}: cannot be read: {error.strerror or error}") from None
        head += chunk
        if not chunk:
            break
    return head


def _of_packed_parquet(name: str, head: bytes, file: io.BufferedReader) -> Source:
    """Parquet cannot be read from its beginning: it is unpacked into a file that goes with the source."""
    packed = tempfile.NamedTemporaryFile(prefix="geograph-", suffix=".parquet")  # noqa: SIM115 (goes with the source)
    with full_disk_named(packed.name):
        packed.write(head)
        shutil.copyfileobj(file, packed, 1 << 20)
        packed.flush()
    found = _of_parquet(name, Path(packed.name))
    found.unpacked = packed
    return found


def _of_parquet(name: str, path: Path) -> Source:
    try:
        names = schema_of(path).names
    except ValueError as error:
        raise CommandError(str(error).replace(str(path), name)) from None
    if any(vector in names for vector in EMBEDDING_NAMES):
        return Source(name, PARQUET, path)
    if "path" in names:
        return Source(name, PHOTOS, path)
    raise CommandError(f"{name}: no column embedding, embeddings or path; it has {', '.join(names[:30]) or 'none'}")


def _of_text(name: str, head: bytes) -> Source:
    """What the beginning of a text says it holds."""
    if words := formats.what_else(head):
        raise CommandError(f"{name}: {words}")
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise CommandError(f"{name}: empty; expected rows")
    head = formats.as_utf8(head)
    if delimiter := formats.delimiter_of(name, head):
        heading = head.lstrip(b"\xef\xbb\xbf\r\n").partition(b"\n")[0].decode("utf-8", "replace")
        names = [cell.strip().strip('"') for cell in heading.strip().split(delimiter)]
        if any(vector in names for vector in EMBEDDING_NAMES):
            return Source(name, TABLE, delimiter=delimiter)
        if "path" in names:
            return Source(name, PHOTOS, delimiter=delimiter)
        raise CommandError(
            f"{name}: no column 'path' or 'embeddings' in its first line; it has {', '.join(names[:30])}"
        )
    shape = json_text.shape_of(head)
    return Source(name, _kind_of_json(name, head, shape), shape=shape)


def _kind_of_json(name: str, head: bytes, shape: str) -> str:
    """Rows, or a table of photos: what the first row says.

    Raises:
        CommandError: no object begins here.
    """
    if shape == json_text.LINES:
        lines = [line for line in head.split(b"\n") if line.strip(b"\xef\xbb\xbf \t\r,")]
        if not any(line.lstrip(b"\xef\xbb\xbf \t")[:1] in (b"{", b"[") for line in lines):
            first = lines[0].decode("utf-8", "replace").strip() if lines else ""
            raise CommandError(
                f"{name}: no rows: neither JSON, CSV with a heading nor Parquet; it begins {shown(first)}"
            )
    else:
        try:
            lines = b"".join(json_text.lines_of([head], shape)).split(b"\n")
        except ValueError:  # the beginning of a whole
            lines = []
    for line in lines:
        try:
            row = next(iter(rows_in(line)), None)
        except ValueError:
            continue
        if isinstance(row, dict):
            photo = "path" in row and not any(vector in row for vector in EMBEDDING_NAMES)
            return PHOTOS if photo else JSON
    return JSON


def _of_folder(source: str, folder: Path, photo_folders: bool) -> list[Source]:
    """The rows of a prepared folder (its largest config), else its files of rows, else its photos."""
    for config in reversed(CONFIGS):  # the largest: it holds the rows of the others
        if files := sorted((folder / config).glob("*.parquet")):
            return [_of_file(str(path), path) for path in files]
    visible = [p for p in folder.rglob("*") if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    files = sorted(p for p in visible if p.is_file() and formats.is_data(p.name) and p.name not in NOT_ROWS)
    files = [p for p in files if formats.suffix_of(p.name) != ".json"] or files
    if photo_folders:
        from photos_geograph import list_photos

        if list_photos(folder):
            return [Source(source, PHOTOS, folder)]
    if not files:
        kinds = "photos or rows" if photo_folders else "rows"
        raise CommandError(f"{source}: no {kinds} in this folder ({', '.join(formats.DATA_SUFFIXES)})")
    return [_of_file(str(path), path) for path in files]


def _of_hub(dataset: str, photo_folders: bool) -> list[Source]:
    """A prepared dataset's largest config, else all its files of rows."""
    for patterns in (["large/*.parquet"], [*(f"*{suffix}" for suffix in formats.DATA_SUFFIXES), "*.jsonl.gz"]):
        folder = _snapshot(dataset, patterns, "file or folder")
        if any(formats.is_data(path.name) for path in folder.rglob("*")):
            break
    found = _of_folder(str(folder), folder, photo_folders)
    for part in found:
        part.name, part.fetched = f"{dataset}/{part.path.relative_to(folder).as_posix()}", True
    return found


def _snapshot(dataset: str, patterns: list[str], what: str) -> Path:
    """A dataset's files from the Hub, in its cache.

    Raises:
        CommandError: neither there nor here.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(dataset, repo_type="dataset", allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("Got: ")
        raise CommandError(f"{dataset}: no such {what} here, and the Hub gives none: {reason}") from None


def local_path(source: str) -> Path:
    """A source that is a file: itself, or what an address gave."""
    return download(source) if is_url(source) else Path(source)


def line_blocks(source: str) -> Iterator[Block]:
    """One source of JSON → blocks of whole lines, whatever stands in them.

    Raises:
        CommandError: missing, empty, damaged.
    """
    if source.startswith(SYNTHETIC) or source in STDIN:
        yield from open_source(source)[0].line_blocks()
        return
    name, path = public_name(source), local_path(source)
    with open_file(name, path) as raw:
        shape = json_text.shape_of(formats.as_utf8(_head(name, unpacked(name, raw)))) if path.is_file() else ""
    yield from Source(name, JSON, path, shape=shape or json_text.LINES).line_blocks()


def dataset_files(dataset: str, config: str, split: str) -> list[Path]:
    """The Parquet files of one split: of a Hub id, a prepared folder, a flat folder, or one Parquet file itself.

    Raises:
        CommandError: there are none.
    """
    if split not in SPLITS:
        raise CommandError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    path = Path(dataset)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _files_of_split(dataset, path, config, split)
    if not _HUB_ID.fullmatch(dataset):
        raise CommandError(f"{dataset}: no such folder or Parquet file, and no Hub id (USER/NAME)")
    folder = _snapshot(dataset, [f"{config}/{split}-*.parquet", f"data/{split}-*.parquet", "README.md"], "folder")
    try:
        return _files_of_split(f"{dataset} on the Hub", folder, config, split)
    except CommandError as error:
        there = _configs_on_hub(dataset)
        if not there or config in there:
            raise
        raise CommandError(f"{dataset} on the Hub: no config {config!r}; there are {', '.join(there)}") from error


def _configs_on_hub(dataset: str) -> list[str]:
    """The folders that have Parquet, as far as the Hub says."""
    from huggingface_hub import HfApi

    try:
        siblings = HfApi().dataset_info(dataset, timeout=10).siblings or ()
    except Exception:  # another error is on its way already, and this only adds names to it
        return []
    names = [file.rfilename for file in siblings]
    return sorted({name.partition("/")[0] for name in names if name.endswith(".parquet") and "/" in name} - {"data"})


def _files_of_split(name: str, folder: Path, config: str, split: str) -> list[Path]:
    """`CONFIG/SPLIT-*.parquet`; in a folder without configs `SPLIT-*.parquet`, also in `data/` as the Hub has them."""
    inside = folder.iterdir() if folder.is_dir() else ()
    configs = sorted(p.name for p in inside if p.is_dir() and any(p.glob("*.parquet")) and p.name != "data")
    if configs and config not in configs:
        raise CommandError(f"{name}: no config {config!r}; there are {', '.join(configs)}")
    places = [folder / config] if config in configs else [folder, folder / "data"]
    for place in places:
        if files := sorted(place.glob(f"{split}-*.parquet")) or sorted(place.glob(f"{split}.parquet")):
            return files
    if there := [one for one in SPLITS if any(any(place.glob(f"{one}*.parquet")) for place in places)]:
        inside = f"config {config}" if configs else "it"
        raise CommandError(f"{name}: no {split} rows in {inside}; there are {' and '.join(there)} rows")
    raise CommandError(f"{name}: no {config}/{split}-*.parquet in it; prepare_dataset.py makes such a folder")
