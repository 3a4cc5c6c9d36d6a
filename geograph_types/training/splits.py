"""A dataset's splits, read into memory."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from geograph_types.cli import CommandError
from geograph_types.rows.fields import Rows
from geograph_types.rows.parquet import is_synthetic, read_split
from geograph_types.rows.sources import dataset_files
from geograph_types.rows.splits import SPLITS
from geograph_types.training.arguments import DataArguments
from row_geograph import most_look_normalised, norms_of

# So many vectors, evenly spread, tell whether all are normalised.
LOOKED_AT = 4096


class Splits(NamedTuple):
    """`validation` and `test` are None where the dataset has none; `synthetic`: whether any row was made up."""

    train: Rows
    validation: Rows | None
    test: Rows | None
    synthetic: bool


def load_splits(arguments: DataArguments) -> Splits:
    """All splits of one config.

    Raises:
        CommandError: no training rows; normalised vectors without `--allow_normalised`.
    """
    found: list[Rows | None] = []
    for split in SPLITS:
        try:
            found.append(load_split(arguments.dataset, arguments.dataset_config, split))
        except CommandError:
            if split == "train":
                raise
            found.append(None)
    train = found[0]
    if train is None:
        raise CommandError(f"{arguments.dataset}: no rows to train on")
    if not arguments.allow_normalised and (words := normalised(train)):
        raise CommandError(f"{arguments.dataset}: {words}. --allow_normalised trains on them all the same")
    synthetic = is_synthetic(dataset_files(arguments.dataset, arguments.dataset_config, "train"))
    return Splits(train, found[1], found[2], synthetic)


def normalised(rows: Rows) -> str | None:
    """What to say where most vectors look normalised."""
    norms = norms_of(rows.embedding[:: max(1, len(rows) // LOOKED_AT)])
    if not most_look_normalised(norms):
        return None
    return (
        f"its vectors have a median length of {np.median(norms):.2f}, as normalised ones do; the model expects "
        "CLIP's own, about 10"
    )


def load_split(dataset: str, config: str, split: str) -> Rows | None:
    """One split's rows; of a single Parquet file, those that the published rule puts there. None where it has none."""
    return read_split(dataset_files(dataset, config, split), split, single_file=Path(dataset).is_file())
