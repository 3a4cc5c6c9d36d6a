"""Published Parquet as a source: which split its name says."""

import subprocess
import sys
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from evaluate_model import load_rows
from geograph_types.rows.fields import NO_SPLIT
from geograph_types.rows.parquet import split_named


@pytest.mark.parametrize(
    ("source", "split"),
    [
        ("geograph-types/large/train-00000-of-00001.parquet", 0),
        ("https://example.org/large/validation-00000-of-00002.parquet?download=true", 1),
        ("test.parquet", 2),
        ("training_rows.parquet", NO_SPLIT),
        ("train-set/rows.parquet", NO_SPLIT),
    ],
)
def test_a_file_keeps_the_split_that_its_name_says(source, split):
    assert split_named(source) == split


def test_a_file_of_the_test_split_is_judged_whole(root, tmp_path):
    command = [sys.executable, str(root / "prepare_dataset.py"), "--source", "synthetic:300", "--output_dir"]
    subprocess.run([*command, str(tmp_path / "rows")], check=True, capture_output=True)
    (file,) = (tmp_path / "rows" / "large").glob("test-*.parquet")
    args = SimpleNamespace(dataset=str(file), dataset_config="small", split="test")
    assert len(load_rows(args)) == pq.read_metadata(file).num_rows
