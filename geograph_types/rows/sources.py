"""Where rows come from: files, addresses, standard input, synthetic rows; and the Parquet files of a dataset."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geograph_types.cli import CommandError, progress
from geograph_types.files import sha256_of
from geograph_types.rows.splits import SPLITS

# Where downloads are kept; `GEOGRAPH_CACHE` moves it.
CACHE_VARIABLE = "GEOGRAPH_CACHE"
DEFAULT_CACHE = "~/.cache/geograph-types"

# Bytes of whole lines handed on at a time: some hundreds of rows, so that all buffers stay in the cache.
BLOCK_SIZE = 2 << 20
CHUNK = 1 << 20

# A row has about 3,000 bytes; what has no end of line for so long is something else.
LONGEST_LINE = 64 << 20


@dataclass(frozen=True)
class Block:
    """Whole lines of one source."""

    source: str
    first_line: int  # 1 for the first line of the source
    data: bytes
    position: int  # bytes of the source read so far, as stored (compressed where it is)


def is_url(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def line_blocks(source: str) -> Iterator[Block]:
    """A JSONL source, plain or .gz, a URL, `-` or `synthetic:N[:SEED]` → blocks of whole lines.

    Raises:
        CommandError: a source that is missing, empty, or cut in the middle.
    """
    if source.startswith("synthetic:"):
        from geograph_types.rows.synthetic import lines_of

        yield from _blocks(source, lines_of(source), lambda: 0)
        return
    if source == "-":
        yield from _blocks("-", _decompressed("-", sys.stdin.buffer), lambda: 0)
        return
    path = local_path(source)
    try:
        with path.open("rb") as raw:
            yield from _blocks(source, _decompressed(source, raw), raw.tell)
    except FileNotFoundError:
        raise CommandError(f"{source}: no such file") from None
    except IsADirectoryError:
        raise CommandError(f"{source}: a folder; name the files in it (JSONL, .gz, Parquet or CSV)") from None


def local_path(source: str) -> Path:
    """A source that is a file: itself, or what an address gave."""
    return download(source) if is_url(source) else Path(source)


def _decompressed(source: str, raw) -> Iterator[bytes]:
    """The bytes of a file, decompressed where they begin as gzip does."""
    if raw.peek(2)[:2] != b"\x1f\x8b":
        yield from _chunks(raw)
        return
    from isal import igzip, igzip_lib  # three times zlib's speed

    try:
        with igzip.GzipFile(fileobj=raw) as file:
            yield from _chunks(file)
    except EOFError:
        raise CommandError(f"{source}: cut short: its gzip stream ends early; fetch it again") from None
    except (OSError, igzip_lib.IsalError) as error:
        raise CommandError(f"{source}: damaged: {error}; fetch it again") from None


def _chunks(file) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _blocks(source: str, chunks: Iterator[bytes], tell) -> Iterator[Block]:
    line, parts, size, empty = 1, [], 0, True
    for chunk in chunks:
        if empty and chunk.startswith(b"\xef\xbb\xbf"):
            chunk = chunk[3:]
        empty = empty and not chunk.strip()
        parts.append(chunk)
        size += len(chunk)
        if size < BLOCK_SIZE or b"\n" not in chunk:
            if size > LONGEST_LINE:
                limit = f"{LONGEST_LINE >> 20} MiB"
                raise CommandError(f"{source}, from line {line} on: a line longer than {limit}; is this JSONL?")
            continue
        end = chunk.rfind(b"\n") + 1
        parts[-1], rest = chunk[:end], chunk[end:]
        data = b"".join(parts)
        yield Block(source, line, data, tell())
        line += data.count(b"\n")
        parts, size = [rest], len(rest)
    if empty:
        raise CommandError(f"{source}: empty; expected JSONL rows, one object a line")
    if size:
        yield Block(source, line, b"".join(parts), tell())


def cache_folder() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE)).expanduser()


def download(url: str, sha256: str | None = None) -> Path:
    """Fetches an address into the cache, with a bar; goes on where an earlier attempt stopped.

    A finished download is kept under its ETag or length: what changed on the server is fetched anew. Where the
    server cannot be reached, the kept copy serves.

    Raises:
        CommandError: not reachable, refused, cut short, or not the file that `sha256` names.
    """
    import httpx

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    name = f"{key}-{url.split('?')[0].rstrip('/').rsplit('/', 1)[-1] or 'download'}"
    final, partial, about = folder / name, folder / f"{name}.partial", folder / f"{name}.json"
    if final.is_file() and sha256 and sha256_of(final) == sha256:
        return final
    known = json.loads(about.read_text()) if about.is_file() else {}
    try:
        with httpx.Client(follow_redirects=True, timeout=60) as client:
            headers = {"Accept-Encoding": "identity"}
            have = partial.stat().st_size if partial.is_file() else 0
            if have and known.get("version"):
                headers |= {"Range": f"bytes={have}-", "If-Range": known["version"]}
            else:
                have = 0
            with client.stream("GET", url, headers=headers) as response:
                if response.status_code >= 400:
                    raise CommandError(f"{url}: the server answered {response.status_code} {response.reason_phrase}")
                version = response.headers.get("etag") or response.headers.get("last-modified")
                have = have if response.status_code == 206 else 0
                length = response.headers.get("content-length")
                total = have + int(length) if length else None
                unchanged = version and version == known.get("version") and final.is_file()
                if unchanged and final.stat().st_size == total and not sha256:
                    return final
                about.write_text(json.dumps({"url": url, "version": version}))
                with (
                    partial.open("ab" if have else "wb") as file,
                    progress(total=total, unit="B", description=name.split("-", 1)[1]) as bar,
                ):
                    bar.update(have)
                    for chunk in response.iter_raw():  # as it comes: what has arrived is kept
                        file.write(chunk)
                        bar.update(len(chunk))
        if total is not None and partial.stat().st_size != total:
            raise CommandError(f"{url}: cut short at {partial.stat().st_size} of {total} bytes; run again to go on")
    except httpx.HTTPError as error:
        if final.is_file() and not sha256 and not partial.is_file():
            return final
        raise CommandError(f"{url}: not reachable ({error or type(error).__name__}); run again to go on") from None
    if sha256 and (found := sha256_of(partial)) != sha256:
        partial.unlink()
        raise CommandError(f"{url}: its SHA-256 is {found}, expected {sha256}; nothing was kept")
    partial.replace(final)
    return final


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
        folder = path / config if (path / config).is_dir() else path
        files = sorted(folder.glob(f"{split}-*.parquet")) or sorted(folder.glob(f"{split}.parquet"))
        if not files:
            raise CommandError(
                f"{dataset}: no {config}/{split}-*.parquet in it; prepare_dataset.py makes such a folder"
            )
        return files
    if dataset.count("/") != 1 or dataset.startswith((".", "/")):
        raise CommandError(f"{dataset}: no such folder or Parquet file, and no Hub id (USER/NAME)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(
            snapshot_download(
                dataset, repo_type="dataset", allow_patterns=[f"{config}/{split}-*.parquet", "README.md"]
            )
        )
    except (RepositoryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CommandError(f"{dataset}: no such folder here, and the Hub gives none: {reason}") from None
    files = sorted((folder / config).glob(f"{split}-*.parquet"))
    if not files:
        raise CommandError(f"{dataset} on the Hub has no {config}/{split}-*.parquet")
    return files


def __getattr__(name: str):
    """Names that moved to other modules; to be removed when nobody asks for them here."""
    import importlib

    moved = {"is_synthetic": "geograph_types.rows.parquet"}
    if name in moved:
        return getattr(importlib.import_module(moved[name]), name)
    raise AttributeError(name)
