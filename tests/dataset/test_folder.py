"""What may be replaced: what this project wrote, as it wrote it, and nothing else."""

import os
import re
from pathlib import Path

import pytest

from geograph_types.cli import CommandError
from geograph_types.dataset import folder as folders
from geograph_types.dataset.folder import MARK, check_output, folder_in_place


def make(final: Path, word: str = "one") -> None:
    with folder_in_place(final) as building:
        (building / "small").mkdir()
        (building / "README.md").write_text(word)
        (building / "small" / f"{word}.parquet").write_bytes(b"x" * 10)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_its_own_folder_is_replaced_as_a_whole(tmp_path):
    final = tmp_path / "data"
    final.mkdir()  # an empty folder is as good as none
    make(final)
    (final / ".DS_Store").touch()
    make(final, "two")
    assert names(final) == {MARK, "README.md", "small", "small/two.parquet"}
    assert names(tmp_path) == {"data", *(f"data/{name}" for name in names(final))}


ADDED = {
    "notes.txt": lambda f: (f / "notes.txt").write_text("mine"),
    ".git/HEAD": lambda f: ((f / ".git").mkdir(), (f / ".git" / "HEAD").touch()),
    "raw/rows.jsonl": lambda f: ((f / "raw").mkdir(), (f / "raw" / "rows.jsonl").touch()),
    "small/more.parquet": lambda f: (f / "small" / "more.parquet").touch(),
    "README.md": lambda f: (f / "README.md").write_text("two"),  # of the same length
    "small/one.parquet": lambda f: (f / "small" / "one.parquet").write_bytes(b"y" * 11),
    "elsewhere": lambda f: (f / "elsewhere").symlink_to("/"),
}


@pytest.mark.parametrize("name", ADDED)
def test_what_people_put_there_stays(tmp_path, name):
    final = tmp_path / "data"
    make(final)
    ADDED[name](final)
    before = names(final)
    with pytest.raises(CommandError, match=f"{re.escape(name)} in it"):
        make(final, "two")
    assert names(final) == before


def test_a_folder_without_the_mark_is_somebody_elses(tmp_path):
    final = tmp_path / "data"
    make(final)
    (final / MARK).unlink()
    with pytest.raises(CommandError, match="without the mark"):
        check_output(final)
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="exists and is no folder"):
        check_output(tmp_path / "file")


def test_links_and_mount_points_are_refused_before_the_work(tmp_path, monkeypatch):
    make(tmp_path / "data")
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(CommandError, match="link: a link to data"):
        check_output(tmp_path / "link")
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "data")
    with pytest.raises(CommandError, match="a mount point"):
        check_output(tmp_path / "data")
    with pytest.raises(CommandError, match=r"/: .*name another"):
        check_output(Path("/"))


def test_a_source_is_never_replaced_nor_the_output_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "data")
    (tmp_path / "rows.link").symlink_to("data/small/one.parquet")
    for source in ("data/small/one.parquet", "data", "data/small/*.parquet", "rows.link", "./x/../data/none.jsonl"):
        with pytest.raises(CommandError, match="lies in --output_dir"):
            check_output(tmp_path / "data", [source])
    with pytest.raises(CommandError, match="lies in the source"):
        check_output(tmp_path / "data", ["."])
    check_output(tmp_path / "data", ["-", "synthetic:20", "https://example.org/data/rows.jsonl", "rows.jsonl"])


def test_what_comes_while_it_runs_stays_and_so_does_the_work(tmp_path):
    final = tmp_path / "data"
    make(final)
    with pytest.raises(CommandError, match=r"notes\.txt in it") as caught, folder_in_place(final) as building:
        (building / "README.md").write_text("two")
        (final / "notes.txt").touch()
    kept = Path(str(caught.value).rpartition(" ")[2])
    assert (kept / "README.md").read_text() == "two"
    assert (final / "README.md").read_text() == "one"


def test_what_a_killed_run_left_is_cleared_or_put_back(tmp_path, monkeypatch):
    final = tmp_path / "data"
    make(final)
    final.rename(tmp_path / ".data.old-1")
    (tmp_path / ".data.building-1").mkdir()
    (tmp_path / ".data.building-notes").mkdir()  # no number: not ours
    monkeypatch.setattr(folders, "is_alive", lambda pid: False)
    with pytest.raises(ZeroDivisionError), folder_in_place(final):
        raise ZeroDivisionError
    assert (final / "README.md").read_text() == "one"
    assert {path.name for path in tmp_path.iterdir()} == {"data", ".data.building-notes"}
