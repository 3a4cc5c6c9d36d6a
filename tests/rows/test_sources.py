"""Where rows come from: lines of files, .gz, addresses and synthetic rows; a dataset's Parquet files."""

import gzip
import hashlib
import http.server
import threading

import pytest

from geograph_types.cli import CommandError
from geograph_types.rows import sources
from geograph_types.rows.sources import dataset_files, download, line_blocks


def lines(source) -> bytes:
    return b"".join(block.data for block in line_blocks(str(source)))


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("compressed", [False, True])
def test_blocks_are_whole_lines_with_their_numbers(tmp_path, monkeypatch, compressed, end):
    monkeypatch.setattr(sources, "BLOCK_SIZE", 1000)
    monkeypatch.setattr(sources, "CHUNK", 300)
    text = b"\n".join(b"%d " % i + b"x" * (i % 97) for i in range(1, 500)) + end
    path = tmp_path / ("rows.gz" if compressed else "rows.jsonl")
    path.write_bytes(gzip.compress(text) if compressed else text)
    blocks = list(line_blocks(str(path)))
    assert len(blocks) > 5
    assert b"".join(block.data for block in blocks) == text
    for block in blocks:
        assert int(block.data.split()[0]) == block.first_line
        assert block is blocks[-1] or block.data.endswith(b"\n")


def test_a_gz_of_several_members_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf{}\n") + gzip.compress(b"[]\n"))
    assert lines(path) == b"{}\n[]\n"


def test_what_is_missing_empty_or_cut_is_named(tmp_path):
    with pytest.raises(CommandError, match=r"none\.jsonl: no such file"):
        lines(tmp_path / "none.jsonl")
    with pytest.raises(CommandError, match="a folder"):
        lines(tmp_path)
    for name, data in {"empty.jsonl": b"", "blank.jsonl": b" \n\n", "empty.gz": gzip.compress(b"")}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CommandError, match=f"{name}: empty"):
            lines(tmp_path / name)
    whole = gzip.compress(b"{}\n" * 10000 + bytes(range(256)) * 99)
    (tmp_path / "cut.gz").write_bytes(whole[:-30])
    with pytest.raises(CommandError, match=r"cut\.gz: cut short"):
        lines(tmp_path / "cut.gz")
    (tmp_path / "bad.gz").write_bytes(whole[:40] + b"\0\0\0\0" + whole[44:])
    with pytest.raises(CommandError, match=r"bad\.gz: (damaged|cut short)"):
        lines(tmp_path / "bad.gz")


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LONGEST_LINE", 5 << 20)
    (tmp_path / "zeros.bin").write_bytes(b"{}\n" + bytes(9 << 20))
    with pytest.raises(CommandError, match="a line longer than 5 MiB"):
        lines(tmp_path / "zeros.bin")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Files over HTTP, with ranges; `cut` ends the next answer early."""
    monkeypatch.setenv("GEOGRAPH_CACHE", str(tmp_path / "cache"))

    class Handler(http.server.BaseHTTPRequestHandler):
        data, etag, cut, asked = b"{}\n" * 500_000, '"1"', None, []

        def do_GET(self):
            asked = self.headers.get("Range") if self.headers.get("If-Range") == self.etag else None
            Handler.asked.append(asked)
            if self.path != "/rows.jsonl":
                return self.send_error(404)
            start = int(asked[6:-1]) if asked else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(self.data) - start))
            self.send_header("ETag", self.etag)
            self.end_headers()
            end, Handler.cut = Handler.cut, None
            self.wfile.write(self.data[start:end])

        def log_message(self, *args):
            pass

    Handler.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        Handler.address = f"http://127.0.0.1:{httpd.server_port}/rows.jsonl"
        yield Handler
        httpd.shutdown()


def test_a_download_goes_on_where_it_stopped(server):
    server.cut = 700_000
    with pytest.raises(CommandError, match="run again to go on"):
        download(server.address)
    path = download(server.address)
    assert path.read_bytes() == server.data
    assert server.asked == [None, "bytes=700000-"]
    assert lines(server.address) == server.data


def test_a_changed_file_is_fetched_anew(server):
    download(server.address)
    server.data, server.etag = b"[]\n", '"2"'
    assert download(server.address).read_bytes() == b"[]\n"


def test_a_download_is_checked_before_it_counts(server):
    right = hashlib.sha256(server.data).hexdigest()
    with pytest.raises(CommandError, match=f"its SHA-256 is {right}"):
        download(server.address, sha256="0" * 64)
    path = download(server.address, sha256=right)
    requests = len(server.asked)
    assert download(server.address, sha256=right) == path
    assert len(server.asked) == requests  # known by its hash: not asked for again


def test_what_the_server_refuses(server):
    with pytest.raises(CommandError, match="404"):
        download(server.address + ".gz")


def test_dataset_files(tmp_path):
    for name in ("geograph-types/small/train-00000-of-00001.parquet", "flat/test-00000-of-00001.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    prepared = tmp_path / "geograph-types"
    assert dataset_files(str(prepared), "small", "train") == [prepared / "small" / "train-00000-of-00001.parquet"]
    (flat,) = dataset_files(str(tmp_path / "flat"), "small", "test")
    assert dataset_files(str(flat), "large", "train") == [flat]
    with pytest.raises(CommandError, match=r"no small/validation-\*\.parquet"):
        dataset_files(str(prepared), "small", "validation")
    with pytest.raises(CommandError, match="no split 'dev'"):
        dataset_files(str(prepared), "small", "dev")
    with pytest.raises(CommandError, match="no such folder"):
        dataset_files(str(tmp_path / "none"), "small", "train")
