"""Published Parquet as a source: which split its name says."""

import pytest

from parquet_rows import split_named
from rows import NO_SPLIT


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
