"""What visitors write → questions, or one sentence at the field that is wrong."""

import base64
import io
import json
import threading
import time

import numpy as np
import pytest
from PIL import Image

from geograph_types.space import model
from geograph_types.space.asking import (
    Mistake,
    metres_of,
    question_of_photo,
    question_of_row,
    read_distance,
    read_upload,
)
from geograph_types.space.many import csv_of
from geograph_types.space.model import with_notes
from geograph_types.space.view import distance_name, percent, types_panel, why_cross_grid
from grid_geograph import bucket_of, parse_grid_ref
from names_geograph import CLASSES, NUM_DISTANCE_BUCKETS

VECTOR = np.random.default_rng(0).standard_normal(512).astype("<f4")
BASE64 = base64.b64encode(VECTOR.tobytes()).decode()
THRESHOLDS = dict.fromkeys(CLASSES, 0.5)


def photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("300", 300), ("300 m", 300), ("1,200", 1200), ("2.5 km", 2500), ("0", 0), (" 16.0 ", 16), (".5", 0.5),
        ("", None), (None, None), ("Unknown", "Unknown"), ("not known", "Unknown"),
    ],
)  # fmt: skip
def test_distances_as_people_write_them(text, metres):
    assert read_distance(text) == metres


@pytest.mark.parametrize("text", ["far", "-5", "3000 miles", "1,2,3", "nan", "inf", "1e400", "9999999", "."])
def test_what_is_no_distance_is_said_at_its_field(text):
    with pytest.raises(Mistake) as caught:
        read_distance(text)
    assert caught.value.field == "distance" and "metres" in str(caught.value)


def test_each_buckets_name_and_metres_are_its_own():
    names = [distance_name(bucket) for bucket in range(NUM_DISTANCE_BUCKETS)]
    assert len(set(names)) == NUM_DISTANCE_BUCKETS
    assert names[0] == "less than 1 m" and names[7] == "64 to 128 m" and names[-1] == "not known"
    assert names[14] == "8,192 m to 16 km" and names[15] == "16 to 33 km" and names[21].endswith("km and over")
    assert [bucket_of(metres_of(bucket)) for bucket in range(NUM_DISTANCE_BUCKETS)] == list(range(23))


@pytest.mark.parametrize(
    ("field", "places"),
    [("subject", {"subject": "QQ 99"}), ("viewpoint", {"viewpoint": "somewhere"}), ("distance", {"distance": "x"})],
)
def test_a_mistake_names_its_field(field, places):
    with pytest.raises(Mistake) as caught:
        question_of_photo(photo(), **places)
    assert caught.value.field == field and str(caught.value).endswith((".", "?"))


def test_contradictions_are_notes():
    places = {"subject": "TQ 3003 8048", "viewpoint": "TQ 3005 8050"}
    (note,) = question_of_photo(photo(), distance="5000", **places).notes
    assert "5,000 m" in note and "28 m" in note
    assert not question_of_photo(photo(), distance="30", **places).notes
    answered = with_notes({"note": f"looks odd; {note}"}, question_of_photo(photo(), distance="5000", **places))
    assert answered["note"] == f"looks odd; {note}", "the pipeline says the same, and once is enough"
    (note,) = question_of_photo(photo(), subject="TQ 3003 8048", viewpoint="NY 2150 0720").notes
    assert "apart" in note


def test_rows_of_the_source_and_of_the_dataset():
    source = question_of_row(json.dumps({"gridimage_id": 7, "distance": "16", "embeddings": BASE64}), 512)
    published = {"gridimage_id": 7, "types": [6], "distance": "16", "distance_bucket": 5, "embedding": VECTOR.tolist()}
    published = question_of_row(json.dumps(published | {"weight": 1.0}), 512)
    assert source.bucket == published.bucket == 5 and source.which == published.which == {"gridimage_id": 7}
    assert (source.embedding == published.embedding).all()
    assert question_of_row({"distance": None, "embeddings": BASE64}, 512).bucket == 0
    unknown = question_of_row({"distance": "Unknown", "embeddings": BASE64}, 512, distance="300")
    assert unknown.bucket == bucket_of(300), "what is typed counts where the row knows nothing"
    both = question_of_row({"distance": "16", "embeddings": BASE64}, 512, distance="300")
    assert both.bucket == 5 and "row's own distance" in both.notes[0]
    points = {"subject": "TQ 3003 8048", "viewpoint": "TQ 3005 8050"}
    assert question_of_row({"embeddings": BASE64, **points}, 512).bucket == bucket_of(28)
    assert question_of_row({"distance_bucket": 9, "embeddings": BASE64}, 512).bucket == 9
    with pytest.raises(Mistake, match="distance_bucket says 9; keep one"):
        question_of_row({"distance": "16", "distance_bucket": 9, "embeddings": BASE64}, 512)


@pytest.mark.parametrize("text", ["", "[1]", "{", "7", '{"embeddings": 5}', '{"embedding": [1, 2]}', "[" * 5000])
def test_what_is_no_row_is_one_sentence(text):
    with pytest.raises(Mistake) as caught:
        question_of_row(text, 512)
    assert caught.value.field == "row" and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_an_upload_that_is_gone_empty_or_too_large(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_upload(tmp_path / "a", "a", 5) == b"12345"
    for path, limit, says in (("gone", 5, "choose it again"), ("a", 4, "too large")):
        with pytest.raises(Mistake, match=says) as caught:
            read_upload(tmp_path / path, path, limit)
        assert str(tmp_path) not in str(caught.value)


def prediction(**more) -> dict:
    scores = dict.fromkeys(CLASSES, 0.1) | {"Geograph": 0.9, "Cross Far": 0.0004}
    return {"types": ["Geograph"], "scores": scores, "cross_grid": None, "note": None, "error": None} | more


def test_coordinates_are_words_and_bars_the_models_figure():
    points = parse_grid_ref("TQ 3503 8048"), parse_grid_ref("TQ 3003 8048")
    answer = prediction(types=["Cross Grid", "Geograph"], cross_grid="geometry")
    assert "because the subject stands in TQ3580" in why_cross_grid(answer, *points, THRESHOLDS)
    assert percent(answer["scores"]["Cross Far"]) == "<\u00a00.1\u00a0%"


def test_what_visitors_wrote_is_escaped():
    question = question_of_photo(photo())
    assert "<script>" not in types_panel(prediction(note="<script>"), question, THRESHOLDS, "<script>.jpg")


def test_no_cell_of_the_csv_is_a_formula():
    text = csv_of([prediction(path="=cmd|'/c calc'!A1"), prediction(path="-1.jpg")], CLASSES)
    assert "'=cmd" in text and "'-1.jpg" in text


def test_only_the_first_wait_for_a_tower_that_does_not_come(monkeypatch):
    """Questions are answered one by one: were each to wait, the last of 32 would wait minutes."""
    monkeypatch.setattr(model, "PATIENCE", 0.3)
    hub = threading.Event()

    class Pipeline:
        @property
        def encoder(self):
            hub.wait(30)
            raise OSError("name a folder that holds the tower")  # what only the owner can do

    tower = model._Tower(Pipeline())
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(Mistake, match="still being fetched"):
            tower.encoder()
    assert time.monotonic() - began < 2
    hub.set()
    assert tower._done.wait(10)
    with pytest.raises(Mistake, match="cannot be fetched just now"):
        tower.encoder()
