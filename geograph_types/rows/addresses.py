"""Addresses: what of them may be shown, and downloads that go on where they stopped, are never mixed and never stale.

Libraries were looked at first: huggingface_hub's downloader knows the Hub only, pooch and fsspec do not go on after a
stop, nor compare what the server has now. The lock is filelock's.
"""

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from files_geograph import within
from geograph_types.cli import CommandError, progress, say
from geograph_types.files import sha256_of, whole_file

# Where downloads are kept; `GEOGRAPH_CACHE` moves it.
CACHE_VARIABLE = "GEOGRAPH_CACHE"
DEFAULT_CACHE = "~/.cache/geograph-types"

# A server that sends fewer bytes a second over so many seconds is given up; what has come is kept.
SLOWEST, SLOW_SECONDS = 100, 60.0
SILENCE_SECONDS = 60.0
# More than any source has; a server that never ends is given up there.
LARGEST_DOWNLOAD = 1 << 38


def is_url(name: str) -> bool:
    return name.lower().startswith(("http://", "https://"))


def public_name(source: str) -> str:
    """A source as anyone may see it: an address without user, password, query and fragment, where secrets stand."""
    name = source
    if "://" in source:
        try:
            parts = urlsplit(source)
            host = parts.netloc.rpartition("@")[2]
            name = urlunsplit((parts.scheme, host, parts.path, "", ""))
        except ValueError:
            name = re.sub(r"//[^/]*@", "//", source).partition("?")[0].partition("#")[0]
    return "".join(character if character.isprintable() else "�" for character in name)


def cache_folder() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE)).expanduser()


def download(url: str, sha256: str | None = None) -> Path:
    """The file at an address, in `cache_folder()`; what a stopped download has fetched is kept and gone on with.

    The server's ETag (or date) tells versions apart: what changed there is fetched anew, what is half here is joined
    to its own version only. Two processes at one address take turns. Where the server cannot be reached, the kept
    copy serves, and a line says so.

    Raises:
        CommandError: not reachable, refused, too slow, cut short, or not the file that `sha256` names.
    """
    import filelock

    kept = _Kept(url)
    try:
        kept.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(kept.lock)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            say(f"{kept.name}: another process is fetching it; waiting")
            lock.acquire()
        try:
            return _fetch(url, kept, sha256)
        finally:
            lock.release()
    except OSError as error:
        raise CommandError(f"{kept.name}: cannot be kept in {kept.folder}: {error.strerror or error}") from None


def kept_version(url: str) -> str | None:
    """What the server said of the version that is kept of an address: its ETag or date."""
    return _Kept(url).read().get("version")


class _Kept:
    """What is here of an address: the whole file, a part of a version, and a note of which. Names hold no secret."""

    def __init__(self, url: str):
        self.folder, self.name = cache_folder(), public_name(url)
        last = self.name.partition("://")[2].partition("/")[2].rstrip("/").rpartition("/")[2]
        self.short = re.sub(r"[^\w.-]", "_", last)[-80:] or "download"
        base = f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{self.short}"
        self.final, self.partial = self.folder / base, self.folder / f"{base}.partial"
        self.note, self.lock = self.folder / f"{base}.json", self.folder / f"{base}.lock"

    def read(self) -> dict:
        """The note: `version` and `size` of the whole file, and of the part; {} where it is missing or broken."""
        try:
            found = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict):
            return {}
        kinds = {"version": str, "size": int, "part_version": str, "part_size": int}
        return {name: found[name] for name, kind in kinds.items() if isinstance(found.get(name), kind)}

    def write(self, **values) -> None:
        with whole_file(self.note) as file:
            json.dump(self.read() | {"address": self.name} | values, file)

    def part(self) -> int:
        """Bytes of the part that can be gone on with; what nobody can tell the version of is removed."""
        known = self.read()
        try:
            have = self.partial.stat().st_size
        except OSError:
            return 0
        total = known.get("part_size")
        if not known.get("part_version") or (total is not None and have > total):
            self.partial.unlink()
            return 0
        return have

    def finish(self, sha: str | None) -> Path:
        """The part is whole: it takes its place."""
        if sha and (found := sha256_of(self.partial)) != sha:
            self.partial.unlink()
            raise CommandError(f"{self.name}: its SHA-256 is {found}, expected {sha}; nothing was kept")
        known = self.read()
        size = self.partial.stat().st_size
        # The note first: killed in between, the older file has another size or is asked for again.
        self.write(version=None, size=None)
        self.partial.replace(self.final)
        self.write(version=known.get("part_version"), size=size, part_version=None, part_size=None)
        return self.final


def _fetch(url: str, kept: _Kept, sha: str | None) -> Path:
    import httpx

    if sha and kept.final.is_file():
        if sha256_of(kept.final) == sha:
            return kept.final
        kept.final.unlink()
    try:
        with httpx.Client(follow_redirects=True, timeout=SILENCE_SECONDS) as client:
            for again in (True, False):
                done = _ask(client, url, kept, again)
                if done is not None:
                    return done if done == kept.final else kept.finish(sha)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        whole = kept.final.is_file() and not sha
        told = "not a valid address" if isinstance(error, httpx.InvalidURL) else _reason(error)
        if whole and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            day = time.strftime("%Y-%m-%d", time.localtime(kept.final.stat().st_mtime))
            say(f"{kept.name}: not reachable ({told}); the copy of {day} serves")
            return kept.final
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            raise CommandError(f"{kept.name}: not a valid address") from None
        raise CommandError(f"{kept.name}: not reachable ({told}); run again to go on") from None
    raise CommandError(f"{kept.name}: the server answers about other parts than it was asked for; run again")


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text if text and "://" not in text else type(error).__name__


def _ask(client, url: str, kept: _Kept, again: bool) -> Path | None:
    """One request: the final file where it is as the server has it, the part's path where that is whole now, None
    where the part was of no use and it must be asked for again."""
    known, have = kept.read(), kept.part()
    total = known.get("part_size")
    complete = bool(have) and have == total  # killed after the last byte: only whether it is still this version
    headers = {"Accept-Encoding": "identity"}
    if have and not complete and not known["part_version"].startswith("W/"):
        headers |= {"Range": f"bytes={have}-", "If-Range": known["part_version"]}
    with contextlib.closing(_answer(client, url, headers, kept.name)) as response:
        if response.status_code == 416 and again:
            kept.partial.unlink(missing_ok=True)
            return None
        if response.status_code not in (200, 206):
            told = f"{response.status_code} {response.reason_phrase}".strip()
            raise CommandError(f"{kept.name}: the server answered {told}")
        length = _number(response.headers.get("content-length"))
        if response.status_code == 206:
            length = _whole_size(response.headers, known, have) if "Range" in headers else None
            if length is None:
                kept.partial.unlink(missing_ok=True)
                if again:
                    return None
                raise CommandError(f"{kept.name}: the server sends parts of another version; run again")
        else:
            version = response.headers.get("etag") or response.headers.get("last-modified")
            same = version is not None and length is not None
            if same and complete and version == known.get("part_version") and length == total:
                return kept.partial
            same = same and version == known.get("version") and length == known.get("size")
            if same and kept.final.is_file() and kept.final.stat().st_size == length:
                return kept.final
            have = 0
            kept.partial.unlink(missing_ok=True)
            kept.write(part_version=version, part_size=length)
        _receive(response, kept, have, length)
    return kept.partial


def _answer(client, url: str, headers: dict[str, str], name: str):
    """The server's answer, its body still to come."""
    try:
        return within(
            SILENCE_SECONDS, lambda: client.send(client.build_request("GET", url, headers=headers), stream=True)
        )
    except TimeoutError:
        raise CommandError(f"{name}: no answer in {SILENCE_SECONDS:.0f} seconds; run again") from None


def _whole_size(headers, known: dict, have: int) -> int | None:
    """The size of the file whose rest a 206 announces; None where that is not the rest of the part which is here."""
    told = {headers.get("etag"), headers.get("last-modified")} - {None}
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("content-range", "").strip())
    if not found or int(found[1]) != have or (told and known["part_version"] not in told):
        return None
    return int(found[2]) if known.get("part_size") in (None, int(found[2])) else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _receive(response, kept: _Kept, have: int, total: int | None) -> None:
    """Appends what comes to the part."""
    if total is not None and total > LARGEST_DOWNLOAD:
        raise CommandError(f"{kept.name}: {total:,} bytes, more than the {LARGEST_DOWNLOAD:,} that are taken")
    with (
        kept.partial.open("ab" if have else "wb") as file,
        progress(total=total, unit="B", description=kept.short) as bar,
    ):
        bar.update(have)
        size = have
        for chunk in _fast_enough(response.iter_raw(), kept.name):  # as it comes: what has arrived is kept
            file.write(chunk)
            bar.update(len(chunk))
            size += len(chunk)
            if size > LARGEST_DOWNLOAD:
                raise CommandError(f"{kept.name}: more than the {LARGEST_DOWNLOAD:,} bytes that are taken")
        file.flush()
        os.fsync(file.fileno())
    if total is not None and size != total:
        raise CommandError(f"{kept.name}: cut short at {size} of {total} bytes; run again to go on")


def _fast_enough(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    begin, received = time.monotonic(), 0
    for chunk in chunks:
        yield chunk
        received += len(chunk)
        passed = time.monotonic() - begin
        if passed > SLOW_SECONDS:
            if received < SLOWEST * passed:
                raise CommandError(
                    f"{name}: the server sends {received / passed:.0f} bytes a second; run again to go on"
                )
            begin, received = time.monotonic(), 0
