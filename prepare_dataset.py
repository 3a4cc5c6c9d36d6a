"""Official rows → the dataset folder `geograph-types`, ready for `load_dataset` and for the Hub.

    python prepare_dataset.py --source types_dataset_1.jsonl.gz --output_dir geograph-types
    python prepare_dataset.py --source synthetic:12000 --output_dir geograph-types

Sources: JSONL rows, a JSON array or {"rows": […]}, CSV or TSV with the same columns, anybody's Parquet, a CSV of
photos to be embedded on the way; also packed (.gz, .bz2, .xz, .zst, .zip); a folder, a glob, an address or a Hub id
of them; `-` for standard input, or `synthetic:N[:SEED]`. Bad rows go to `rejected.jsonl` with line and reason. With
--engine ray many processes or machines (--ray_address) read a source file each, and the dataset is the same, bit for
bit; sources and output must lie where all of them see them.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any

from geograph_types import cli
from geograph_types.dataset.arguments import PrepareArguments
from names_geograph import EMBEDDING_DIM


def main() -> None:
    gc.set_threshold(100_000)  # libraries and rows are no garbage, and to look for some takes a third of a second
    (args,) = cli.parse_flags(PrepareArguments, description=__doc__)
    from geograph_types.dataset.building import build, open_sources, width_of
    from geograph_types.dataset.folder import folder_in_place

    output = Path(os.path.abspath(args.output_dir))  # noqa: PTH100 (a link stays one, and is refused)
    parts = open_sources(args)
    width = width_of(args, parts) or EMBEDDING_DIM
    with folder_in_place(output, args.source) as folder, pool_of(args, folder, parts, width) as pool:
        built = build(args, folder, pool, parts)
    report(args, output, built)
    if args.push_to_hub:
        from geograph_types.hub.publishing import publish_folder

        print(publish_folder(output, args.push_to_hub, "dataset"))


def pool_of(args: PrepareArguments, folder: Path, parts: list, width: int) -> Any:
    """Who reads the sources: processes of this machine, or Ray's."""
    if args.engine == "local":
        from geograph_types.rows.workers import ParserPool

        return ParserPool(embedding_dim=width)
    from geograph_types.dataset.ray_engine import RayPool

    return RayPool(args, folder, parts, width)


def report(args: PrepareArguments, output: Path, built) -> None:
    for config, splits in built.counts.items():
        print(f"{config}: " + ", ".join(f"{number:,} {split}" for split, number in splits.items()))
    if built.rejected:
        reasons = "; ".join(f"{number} {reason}" for reason, number in built.rejected.most_common())
        print(
            f"{built.rejected.total():,} rows rejected ({reasons}), see {output / 'rejected.jsonl'}", file=sys.stderr
        )
    print(f"{output}: load_dataset({args.output_dir!r}, 'small')")


if __name__ == "__main__":
    cli.run(main)
