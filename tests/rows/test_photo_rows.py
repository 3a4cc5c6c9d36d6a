"""A CSV of photos becomes dataset rows, embedded on the way."""

import json

import numpy as np
import pyarrow.parquet as pq

from encoder_geograph import GeographEncoder
from names_geograph import TAGS
from tests.dataset.test_prepare_dataset import prepare
from tests.support.photo_factory import make_photos
from tests.support.tiny_tower import make_tiny_tower


def test_a_csv_of_photos_is_embedded_on_the_way(tmp_path):

    tower = make_tiny_tower(tmp_path / "tower")
    photos = make_photos(tmp_path / "photos", 5, 200, 150)
    photos[3].write_bytes(b"no photo")
    lines = [
        "path,gridimage_id,types,distance,subject,viewpoint,title",
        "photos/photo_00000.jpg,11,Geograph,16,,,A farm",
        'photos/photo_00001.jpg,12,"Inside,Extra",,TQ 3003 8048,TQ 3003 8058,',
        "photos/photo_00002.jpg,13,Harbour,,,,",
        "photos/photo_00003.jpg,14,Aerial,,,,",
        "photos/photo_00004.jpg,15,Aerial,,,,",
        "photos/photo_00009.jpg,16,Aerial,,,,",
        "photos/photo_00004.jpg,,Aerial,,,,",
    ]
    (tmp_path / "photos.csv").write_text("\n".join(lines) + "\n")
    result = prepare("--source", tmp_path / "photos.csv", "--output_dir", tmp_path / "out", "--vision_model", tower)
    assert result.returncode == 0, result.stderr
    files = sorted((tmp_path / "out" / "large").glob("*.parquet"))
    found = {row["gridimage_id"]: row for file in files for row in pq.read_table(file).to_pylist()}
    assert sorted(found) == [11, 12, 15]
    assert [found[i]["distance"] for i in (11, 12, 15)] == ["16", "64", "Unknown"]
    assert found[11]["title"] == "A farm"
    assert [TAGS[t] for t in found[12]["types"]] == ["Inside", "Extra"]
    encoder = GeographEncoder.from_pretrained(tower)
    for i, photo in ((11, photos[0]), (15, photos[4])):
        expected, vector = encoder.encode_one(photo), np.array(found[i]["embedding"], np.float32)
        assert vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected) > 0.9999
    bad = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row.get("gridimage_id")) for row in bad] == [(4, 13), (5, 14), (7, 16), (8, None)]


def test_a_csv_without_its_columns_is_refused(tmp_path):
    (tmp_path / "photos.csv").write_text("path,distance\na.jpg,16\n")
    result = prepare("--source", tmp_path / "photos.csv", "--output_dir", tmp_path / "out")
    assert result.returncode == 1
    assert "no column 'gridimage_id'" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
