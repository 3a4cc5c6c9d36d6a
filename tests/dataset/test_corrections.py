"""A moderator's yes and no, by photo and tag, change the rows and are counted."""

import numpy as np
import pytest

from geograph_types.cli import CommandError
from geograph_types.dataset.corrections import read_corrections
from geograph_types.rows.jsonl import parse_rows
from names_geograph import TAGS


def block_of(types: list[str]):
    vector = np.ones(512).tolist()
    rows = [(i, {"gridimage_id": i, "types": tags, "embedding": vector}) for i, tags in enumerate(types, 1)]
    return parse_rows(rows, "rows")


def tags_of(block) -> list[list[str]]:
    return [[TAGS[tag] for tag in block.type_lists[number]] for number in block.types]


def write(path, *lines):
    path.write_text("\n".join(["gridimage_id,tag,answer", *lines]) + "\n")
    return path


def test_tags_are_added_and_taken_away(tmp_path):
    one = write(tmp_path / "one.csv", "1,From Drone,yes", "2,Inside,no", "3,Inside,no", "99,Extra,yes")
    two = write(tmp_path / "two.csv", "1,From Drone,yes", "1,Aerial,no", "4,Geograph,YES")
    corrections = read_corrections([one, two])
    block = corrections.apply(block_of(["Aerial,Geograph", "Inside,Extra", "Inside", "Geograph", "Extra"]), "rows")
    assert block.gridimage_id.tolist() == [1, 2, 4, 5]
    assert tags_of(block) == [["Geograph", "From Drone"], ["Extra"], ["Geograph"], ["Extra"]]
    assert [(bad.gridimage_id, bad.reason) for bad in block.rejected] == [(3, "no tag is left after the corrections")]
    assert corrections.described() == (
        "People corrected 6 tags: Aerial taken from 1 row; From Drone added to 1 row; Inside taken from 2 rows; "
        "1 changed nothing; 1 photo was not in the sources."
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,Inside,yes", "line 2: bad gridimage_id"),
        ("1,Indoors,yes", "line 2: unknown tag 'Indoors'"),
        ("1,Inside,maybe", "line 2: answer 'maybe'; expected yes or no"),
        ("1,Inside,yes\n1,Inside,no", "line 3: photo 1 has both yes and no for Inside"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, line, message):
    with pytest.raises(CommandError, match=message):
        read_corrections([write(tmp_path / "bad.csv", line)])


def test_other_files_are_refused(tmp_path):
    (tmp_path / "other.csv").write_text("id,types\n1,Inside\n")
    with pytest.raises(CommandError, match="no column 'gridimage_id'"):
        read_corrections([tmp_path / "other.csv"])
    (tmp_path / "twice.csv").write_text("gridimage_id,tag,answer,answer\n1,Inside,yes,no\n")
    with pytest.raises(CommandError, match="two columns are named 'answer'"):
        read_corrections([tmp_path / "twice.csv"])
    with pytest.raises(CommandError, match="no such file"):
        read_corrections([tmp_path / "nowhere.csv"])


def test_prepare_takes_them_and_the_card_counts_them(tmp_path):
    import json

    import pyarrow.parquet as pq

    from geograph_types.rows.synthetic import lines_of
    from tests.support import warm

    lines = b"".join(lines_of("synthetic:1000")).splitlines()[:200]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    rows = {row["gridimage_id"]: row["types"].split(",") for row in map(json.loads, lines)}
    first = next(i for i, types in rows.items() if "From Drone" not in types)
    second = next(i for i, types in rows.items() if len(types) == 2 and i != first)
    file = write(tmp_path / "yes.csv", f"{first},From Drone,yes", f"{second},{rows[second][0]},no")
    flags = ("--source", tmp_path / "rows.jsonl", "--corrections", file, "--output_dir", tmp_path / "data")
    result = warm.run("prepare_dataset.py", *flags)
    assert result.returncode == 0, result.stderr
    tables = [pq.read_table(path) for path in (tmp_path / "data" / "large").glob("*.parquet")]
    found = {}
    for table in tables:
        found |= dict(zip(table["gridimage_id"].to_pylist(), table["types"].to_pylist(), strict=True))
    named = {i: [TAGS[tag] for tag in types] for i, types in found.items()}
    expected = rows | {first: [*rows[first], "From Drone"], second: rows[second][1:]}
    assert named == expected
    card = (tmp_path / "data" / "README.md").read_text()
    assert "People corrected 2 tags:" in card and "From Drone added to 1 row" in card
