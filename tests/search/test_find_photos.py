"""find_photos.py: planted photos are found, strangers' words stay words, and the page's answers come back."""

import csv
import json
import sys
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64
import pytest
import torch

from geograph_types.cli import CommandError
from names_geograph import TAGS

PLANTED = 20
EVIL = '=1+1 <script>alert("1")</script> & "quoted"'


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """20,000 rows of which twenty, and three to look for, lie close together; as published Parquet."""
    generator = np.random.default_rng(0)
    folder, count = tmp_path_factory.mktemp("find"), 20_000
    vectors = generator.standard_normal((count, 512), dtype=np.float32) * 0.45
    middle = generator.standard_normal(512) * 0.45
    special = generator.choice(count, PLANTED + 3, replace=False)
    vectors[special] = middle + generator.standard_normal((PLANTED + 3, 512)) * 0.15
    vectors[special] *= generator.uniform(0.5, 2, (PLANTED + 3, 1))  # likeness is not a matter of length
    ids = generator.permutation(count) + 1
    types = [[TAGS.index("Geograph")] for _ in range(count)]
    features = {"types": {"feature": {"names": TAGS, "_type": "ClassLabel"}, "_type": "List"}}
    table = pa.table(
        {
            "gridimage_id": pa.array(ids),
            "types": pa.array(types, pa.list_(pa.int64())),
            "distance_bucket": pa.array(generator.integers(0, 23, count).astype(np.int8)),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 512),
            "title": pa.array([EVIL] * count),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, folder / "rows.parquet", row_group_size=4096)
    return folder, ids[special[3:]], ids[special[:3]], vectors, ids


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    torch.manual_seed(0)
    model = GeographModel(GeographConfig(thresholds=[0.3, 0.5, 0.7, 0.4, 0.6, 0.5, 0.2])).eval()
    folder = tmp_path_factory.mktemp("find") / "model"
    save_model_repository(model, folder)
    return model, folder


def find(monkeypatch, *flags) -> None:
    import find_photos

    monkeypatch.setattr(sys, "argv", ["find_photos.py", *map(str, flags)])
    find_photos.main()


def found_in(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_twenty_planted_photos_are_found(monkeypatch, tmp_path, rows, capsys):
    folder, planted, known, _, _ = rows
    (tmp_path / "like.txt").write_text("gridimage_id\n" + "\n".join(f"{i}  # drone" for i in known) + "\n")
    flags = ["--input", folder / "rows.parquet", "--like", tmp_path / "like.txt", "--top", 25, "--tag", "From Drone"]
    find(monkeypatch, *flags, "--output", tmp_path / "found.csv")
    found = found_in(tmp_path / "found.csv")
    assert len(found) == 25
    assert {int(row["gridimage_id"]) for row in found[:PLANTED]} == set(planted.tolist())
    assert float(found[PLANTED - 1]["score"]) > 0.8 > float(found[PLANTED]["score"])
    assert not {int(row["gridimage_id"]) for row in found} & set(known.tolist())
    first = found[0]
    assert first["page"] == f"https://www.geograph.org.uk/photo/{first['gridimage_id']}"
    assert (first["tags"], first["tag_in_question"], first["title"]) == ("Geograph", "From Drone", f"'{EVIL}")
    # What a dataset has already is left out.
    pq.write_table(pa.table({"gridimage_id": planted[:15]}), tmp_path / "have.parquet")
    find(monkeypatch, *flags, "--exclude", tmp_path / "have.parquet", "--output", tmp_path / "rest.csv")
    rest = found_in(tmp_path / "rest.csv")
    assert {int(row["gridimage_id"]) for row in rest[:5]} == set(planted[15:].tolist())
    assert "of 20,000 rows" in capsys.readouterr().out


def test_the_page_holds_no_markup_of_strangers(monkeypatch, tmp_path, rows):
    folder, _, known, _, _ = rows
    (tmp_path / "like.txt").write_text(str(known[0]))
    find(
        monkeypatch, "--input", folder / "rows.parquet", "--like", tmp_path / "like.txt", "--top", 3, "--output",
        tmp_path / "found.csv",
    )  # fmt: skip
    page = (tmp_path / "found.html").read_text()

    class Reader(HTMLParser):
        tags, links, text = [], [], ""

        def handle_starttag(self, tag, attributes):
            self.tags.append(tag)
            self.links += [value for name, value in attributes if name in ("href", "src")]

        def handle_data(self, data):
            self.text += data

    reader = Reader()
    reader.feed(page)
    assert reader.tags.count("script") == 1 and reader.text.count(EVIL) == 3
    assert all(link.startswith("https://www.geograph.org.uk/photo/") for link in reader.links)
    assert len(reader.links) == 3


def test_by_probability_disagreement_and_uncertainty(monkeypatch, tmp_path, rows, model):
    from geograph_types.inference import logits_of

    folder, _, _, vectors, ids = rows
    model, model_folder = model
    bucket = pq.read_table(folder / "rows.parquet")["distance_bucket"].to_numpy()
    logits = logits_of(model, vectors, bucket)
    probability = 1 / (1 + np.exp(-logits))
    classes = model.config.classes
    targets = np.zeros_like(probability)
    targets[:, classes.index("Geograph")] = 1
    threshold = np.array(model.config.thresholds)
    apart = np.abs(logits - np.log(threshold / (1 - threshold)))
    expected = {
        ("--type", "From Drone"): probability[:, classes.index("From Drone")],
        ("--disagree",): np.abs(probability - targets).max(axis=1),
        ("--uncertain", "--type", "Cross Grid"): -apart[:, classes.index("Cross Far")],
    }
    base = ["--input", folder / "rows.parquet", "--model", model_folder, "--top", 30, "--output", tmp_path / "f.csv"]
    for flags, score in expected.items():
        find(monkeypatch, *base, *flags)
        found = found_in(tmp_path / "f.csv")
        assert [int(row["gridimage_id"]) for row in found] == ids[np.argsort(-score, kind="stable")[:30]].tolist()
        if "--type" in flags:
            assert {row["tag_in_question"] for row in found} == {flags[-1]}


@pytest.mark.parametrize("own_class", [True, False])
def test_disagreement_is_judged_by_the_model_s_own_classes(monkeypatch, tmp_path, own_class):
    """From Above is a class of its own, or trains From Drone: then what is asked is the tag that people gave."""
    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from geograph_types.inference import probabilities_of
    from modeling_geograph import GeographModel
    from names_geograph import CLASSES

    torch.manual_seed(0)
    classes = [*CLASSES, "From Above"] if own_class else CLASSES
    model = GeographModel(GeographConfig(classes=classes)).eval()
    save_model_repository(model, tmp_path / "model")
    vectors = np.random.default_rng(0).standard_normal((301, 512)).astype(np.float32) * 3
    given = [("From Above", "From Drone", "From Above,From Drone", "Geograph")[i % 4] for i in range(300)]
    vectors[300] = np.nan  # cannot be used; the others keep their tags
    table = {"gridimage_id": [*range(1, 301), 999], "types": [*given, "Inside"], "embedding": list(vectors)}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    flags = ["--input", tmp_path / "rows.parquet", "--model", tmp_path / "model", "--disagree", "--top", 300]
    find(monkeypatch, *flags, "--type", "From Drone", "--output", tmp_path / "f.csv")
    means = {"From Drone"} if own_class else {"From Drone", "From Above"}
    probability = probabilities_of(model, vectors[:300], np.full(300, 22))[:, classes.index("From Drone")]
    apart = np.abs(probability - [bool(means & {*tags.split(",")}) for tags in given])
    found = found_in(tmp_path / "f.csv")
    assert [int(row["gridimage_id"]) - 1 for row in found] == np.argsort(-apart, kind="stable").tolist()
    assert all(row["tags"] == given[int(row["gridimage_id"]) - 1] for row in found)
    asked = {row["tags"]: row["tag_in_question"] for row in found}
    other = "From Drone" if own_class else "From Above"
    assert asked == dict.fromkeys(asked, "From Drone") | {"From Above": other}


def test_jsonl_and_another_place_for_the_vectors(monkeypatch, tmp_path, rows):
    folder, planted, known, vectors, ids = rows
    place = {int(image_id): i for i, image_id in enumerate(ids)}
    wanted = [*planted.tolist(), *ids[:200].tolist()]
    with (tmp_path / "rows.jsonl").open("w") as file:
        for image_id in dict.fromkeys(wanted):
            vector = pybase64.b64encode_as_string(vectors[place[image_id]].tobytes())
            row = {"gridimage_id": image_id, "types": "Geograph,Inside", "title": "A", "embeddings": vector}
            file.write(json.dumps(row) + "\n")
        file.write('{"gridimage_id": 5}\nno row\n')
    (tmp_path / "like.txt").write_text("\n".join(map(str, known)))
    flags = ["--input", tmp_path / "rows.jsonl", "--like", tmp_path / "like.txt", "--output", tmp_path / "f.csv"]
    with pytest.raises(CommandError, match="--like_dataset names where they are"):
        find(monkeypatch, *flags)
    find(monkeypatch, *flags, "--like_dataset", folder / "rows.parquet", "--top", PLANTED)
    found = found_in(tmp_path / "f.csv")
    assert {int(row["gridimage_id"]) for row in found} == set(planted.tolist())
    assert found[0]["tags"] == "Geograph,Inside"


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--like", "a", "--model", "b"],
        ["--model", "b"],
        ["--like", "a", "--disagree"],
        ["--model", "b", "--uncertain", "--tag", "Inside"],
        ["--like", "a", "--revision", "b"],
    ],
)
def test_wrong_usage(monkeypatch, flags):
    with pytest.raises(SystemExit) as end:
        find(monkeypatch, "--input", "rows", "--output", "f.csv", *flags)
    assert end.value.code == 2
