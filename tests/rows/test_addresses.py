"""Downloads over real HTTP: gone on with, never stuck, never stale, never mixed, two at once, killed at any moment."""

import hashlib
import http.server
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from geograph_types.cli import CommandError
from geograph_types.rows import addresses
from geograph_types.rows.addresses import cache_folder, download, kept_version, public_name
from geograph_types.rows.sources import line_blocks, open_source
from tests.support.dripping import dripping


class Handler(http.server.BaseHTTPRequestHandler):
    """One file, with ranges; the attributes of `server.play` make it behave badly."""

    def do_GET(self):
        play = self.server.play
        asked = self.headers.get("Range")
        if asked and not play.blind and self.headers.get("If-Range") != play.etag:
            asked = None
        play.asked.append((self.headers.get("Range"), self.headers.get("Authorization")))
        if self.path.partition("?")[0] != "/rows.jsonl":
            return self.send_error(404)
        start = int(asked[6:-1]) if asked else 0
        if asked and start >= len(play.data):
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        headers = {"Content-Length": len(play.data) - start, "ETag": play.etag}
        if asked:
            headers |= {"Content-Range": f"bytes {start}-{len(play.data) - 1}/{len(play.data)}"} | play.of_a_part
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        end, play.cut = play.cut, None
        for place in range(start, len(play.data) if end is None else end, play.chunk):
            self.wfile.write(play.data[place : min(place + play.chunk, len(play.data) if end is None else end)])
            time.sleep(play.pause)

    def log_message(self, *args):
        pass


class Play:
    def __init__(self):
        self.data, self.etag, self.cut, self.asked = b"{}\n" * 500_000, '"1"', None, []
        self.chunk, self.pause, self.blind = 1 << 18, 0.0, False
        self.of_a_part = {}  # headers of a 206, in place of the right ones


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOGRAPH_CACHE", str(tmp_path / "cache"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.play = play = Play()
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        play.address = f"http://127.0.0.1:{httpd.server_port}/rows.jsonl"
        play.stop = httpd.shutdown
        yield play
        httpd.shutdown()


def ranges(play) -> list:
    return [asked for asked, _ in play.asked]


def kept(ending: str):
    (found,) = cache_folder().glob(f"*rows.jsonl{ending}")
    return found


def test_a_download_goes_on_where_it_stopped(server):
    server.cut = 700_000
    with pytest.raises(CommandError, match="run again to go on"):
        download(server.address)
    assert download(server.address).read_bytes() == server.data
    assert ranges(server) == [None, "bytes=700000-"]
    assert b"".join(block.data for block in line_blocks(server.address)) == server.data
    assert kept_version(server.address) == '"1"'


def test_what_is_unchanged_is_not_fetched_again(server):
    first = download(server.address).stat()
    server.cut = 0  # the body would not come
    assert download(server.address).stat().st_mtime_ns == first.st_mtime_ns


def test_a_changed_file_is_fetched_anew(server):
    download(server.address)
    server.data, server.etag = b"[]\n", '"2"'
    assert download(server.address).read_bytes() == b"[]\n"
    server.data, server.etag = b"[1]\n", None  # nothing tells the versions apart: fetched each time
    assert download(server.address).read_bytes() == b"[1]\n"
    server.data = b"[2]\n"
    assert download(server.address).read_bytes() == b"[2]\n"


def test_parts_of_two_versions_are_never_joined(server):
    """A server that ignores If-Range and answers 206 with another ETag."""
    server.cut = 700_000
    with pytest.raises(CommandError, match="run again"):
        download(server.address)
    server.data, server.etag, server.blind = b"[]\n" * 500_000, '"2"', True
    assert download(server.address).read_bytes() == server.data


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": None},
        {"Content-Range": "bytes 699999-1499999/1500000"},
        {"Content-Range": "bytes 700000-1500000/1500001"},
        {"ETag": None, "Last-Modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
    ],
)
def test_a_part_that_is_no_rest_of_ours_is_not_joined(server, headers):
    server.cut, server.of_a_part = 700_000, headers
    with pytest.raises(CommandError, match="run again"):
        download(server.address)
    assert download(server.address).read_bytes() == server.data
    assert ranges(server) == [None, "bytes=700000-", None]


def test_less_than_the_rest_is_not_the_whole(server):
    server.cut, server.of_a_part = 700_000, {"Content-Length": 100}
    with pytest.raises(CommandError, match="run again"):
        download(server.address)
    with pytest.raises(CommandError, match="cut short at 700100 of 1500000 bytes"):
        download(server.address)
    server.of_a_part = {}
    assert download(server.address).read_bytes() == server.data


def test_an_answer_that_comes_byte_by_byte_is_given_up(server, monkeypatch):
    monkeypatch.setattr(addresses, "SILENCE_SECONDS", 0.3)
    with dripping() as address, pytest.raises(CommandError, match="no answer in 0 seconds"):
        download(address)


def test_killed_after_the_last_byte(server, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(addresses._Kept, "finish", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        process = multiprocessing.get_context("fork").Process(target=download, args=(server.address,))
        process.start()
        process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert kept(".partial").stat().st_size == len(server.data)
    server.cut = 0
    assert download(server.address).read_bytes() == server.data  # without fetching it again


@pytest.mark.parametrize("note", ["", "[]", "{", '{"part_version": 3, "part_size": "x"}', None])
def test_a_broken_note_is_no_obstacle(server, note):
    server.cut = 700_000
    with pytest.raises(CommandError):
        download(server.address)
    if note is None:
        kept(".json").unlink()
    else:
        kept(".json").write_text(note)
    assert download(server.address).read_bytes() == server.data


def test_a_part_that_is_too_long_is_no_obstacle(server):
    server.cut = 700_000
    with pytest.raises(CommandError):
        download(server.address)
    with kept(".partial").open("ab") as file:
        file.write(bytes(len(server.data)))
    assert download(server.address).read_bytes() == server.data


def test_two_processes_at_one_address(server):
    server.pause = 0.02
    code = (
        "import sys; from geograph_types.rows.addresses import download; print(download(sys.argv[1]).stat().st_size)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, server.address], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [int(process.communicate(timeout=60)[0]) for process in both] == [len(server.data)] * 2
    assert kept("").read_bytes() == server.data
    assert not list(cache_folder().glob("*.partial"))


def test_killed_at_any_moment(server):
    server.pause = 0.02
    target = multiprocessing.get_context("fork").Process
    for wait in (0.01, 0.05, 0.08, 0.11, 0.14):
        process = target(target=download, args=(server.address,))
        process.start()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        server.data, server.etag = (b"{}\n" * 500_000, '"1"') if wait < 0.1 else (b"[]\n" * 500_000, '"2"')
    assert download(server.address).read_bytes() == server.data


def test_a_download_is_checked_before_it_counts(server):
    right = hashlib.sha256(server.data).hexdigest()
    with pytest.raises(CommandError, match=f"its SHA-256 is {right}"):
        download(server.address, sha256="0" * 64)
    path = download(server.address, sha256=right)
    requests = len(server.asked)
    assert download(server.address, sha256=right) == path
    assert len(server.asked) == requests  # known by its hash: not asked for again
    path.write_bytes(b"spoilt")
    assert download(server.address, sha256=right).read_bytes() == server.data


def test_slow_and_endless_servers_are_given_up(server, monkeypatch):
    monkeypatch.setattr(addresses, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(addresses, "SLOWEST", 10_000)
    server.chunk, server.pause = 10, 0.02
    with pytest.raises(CommandError, match="bytes a second; run again to go on"):
        download(server.address)
    monkeypatch.setattr(addresses, "LARGEST_DOWNLOAD", 1000)
    with pytest.raises(CommandError, match="more than the 1,000"):
        download(server.address)


def test_no_secret_is_shown(server, capsys):
    secret = server.address.replace("http://", "http://somebody:pa55@") + "?token=t0ken"
    (part,) = open_source(secret)
    assert server.asked[-1][1].startswith("Basic ")
    assert part.name == server.address
    with pytest.raises(CommandError) as error:
        download(secret.replace("rows", "none"))
    told = str(error.value) + capsys.readouterr().err
    for path in cache_folder().iterdir():
        told += path.name + (path.read_text() if path.suffix == ".json" else "")
    assert "404" in told
    assert not any(word in told for word in ("pa55", "t0ken", "somebody"))


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("https://u:p@h.org:8/a/rows.jsonl?sig=1#x", "https://h.org:8/a/rows.jsonl"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
        ("http://u:p@[::1/x?a=b", "http://[::1/x"),
        ("rows.jsonl", "rows.jsonl"),
        ("a\x1b[31m\nb", "a�[31m�b"),
    ],
)
def test_what_may_be_shown_of_a_source(source, shown):
    assert public_name(source) == shown


def test_what_cannot_be_reached(server):
    with pytest.raises(CommandError, match="404"):
        download(server.address + ".gz")
    with pytest.raises(CommandError, match="not a valid address"):
        download("http://[::1")
    path = download(server.address)
    server.stop()
    address = server.address
    with pytest.raises(CommandError, match="not reachable"):
        download(address.replace("rows", "others").replace("127.0.0.1", "127.0.0.2"))
    assert path.is_file()
