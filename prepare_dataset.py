"""Official rows → the dataset folder `geograph-types`, ready for `load_dataset` and for the Hub.

    python prepare_dataset.py --source types_dataset_1.jsonl.gz --output_dir geograph-types
    python prepare_dataset.py --source synthetic:12000 --output_dir geograph-types

Sources: JSONL rows (plain or .gz), published Parquet, a CSV of photos to be embedded on the way, a URL of any of
them, `-` for standard input, or `synthetic:N[:SEED]`. Bad rows go to `rejected.jsonl` with line and reason.
"""

import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from geograph_types import cli
from geograph_types.rows.fields import Rejected, SourceRows
from geograph_types.rows.workers import ParserPool

# Shares of bad rows are judged from here on.
ENOUGH_TO_JUDGE = 1000
# Beyond this share among the first rows nothing good can come: stop at once rather than after hours.
HOPELESS = 0.9
# Where what is particular to one row begins in a reason.
PARTICULARS = re.compile(r"[:;,'\"\[{(]|-?\d| (?:None|True|False)\b| such as ")


@dataclass
class PrepareArguments:
    source: list[str] = field(metadata={"help": "one or several sources, read in this order", "nargs": "+"})
    output_dir: str = field(default="geograph-types", metadata={"help": "the dataset folder; replaced as a whole"})
    small: int = field(default=10_000, metadata={"help": "rows of the config small, besides rare tags"})
    medium: int = field(default=120_000, metadata={"help": "rows of the config medium"})
    strict: bool = field(default=False, metadata={"help": "stop at the first bad row and leave nothing"})
    max_rejected: float = field(default=0.1, metadata={"help": "the share of bad rows above which it is an error"})
    vision_model: str | None = field(
        default=None, metadata={"help": "CLIP tower for a CSV of photos: a Hub id or a folder"}
    )
    push_to_hub: str | None = field(default=None, metadata={"help": "then publish it as USER/geograph-types"})

    def __post_init__(self):
        if not 0 < self.small <= self.medium:
            raise ValueError(f"--small must be above 0 and at most --medium, got {self.small} and {self.medium}")
        if not 0 <= self.max_rejected <= 1:
            raise ValueError(f"--max_rejected is a share between 0 and 1, got {self.max_rejected}")


def main() -> None:
    (args,) = cli.parse_flags(PrepareArguments, description=__doc__)
    from geograph_types.dataset.folder import folder_in_place

    output = Path(args.output_dir).absolute()
    with folder_in_place(output) as folder, ParserPool() as pool:
        counts, rejected = build(args, folder, pool)
    report(args, output, counts, rejected)
    if args.push_to_hub:
        from geograph_types.hub.publishing import publish_folder

        publish_folder(output, args.push_to_hub, "dataset")


def build(args: PrepareArguments, folder: Path, pool: ParserPool) -> tuple[dict, Counter]:
    """Reads all sources into `folder`; returns what the card counts, and the bad rows by reason."""
    import numpy as np

    from geograph_types.dataset.card import load_libraries, write_card
    from geograph_types.dataset.folder import SeenIds, keep_new, select, splits_of
    from geograph_types.dataset.writer import DatasetWriter

    # The card's libraries take half a second to load: meanwhile the workers parse.
    threading.Thread(target=load_libraries, daemon=True).start()
    synthetic = any(is_made_up(source) for source in args.source)
    seen, reasons = SeenIds(), Counter()
    ids, tags, splits, read = [], [], [], 0
    with (
        DatasetWriter(folder, synthetic) as writer,
        cli.progress(unit="row") as bar,
        (folder / "rejected.jsonl").open("w", encoding="utf-8") as bad_rows,
    ):
        for source, block in blocks_of(args, pool):
            block = keep_new(block, seen, source)
            read += len(block) + len(block.rejected)
            bar.update(len(block) + len(block.rejected))
            note_rejected(args, block.rejected, reasons, read, bad_rows)
            split = splits_of(block)
            writer.add(block, split)
            ids.append(block.gridimage_id)
            tags.append(np.packbits(block.tags, axis=1))  # a byte a row: these stay in memory until the end
            splits.append(split)
        pool.close()
        judge(args, reasons, read, args.max_rejected)
        ids, tags, splits = np.concatenate(ids), np.concatenate(tags), np.concatenate(splits)
        if not len(ids):
            raise cli.CommandError(f"{args.source[0]}: no good row in it; {reasons.most_common(1)[0][0]}")
        tags = np.unpackbits(tags, axis=1).view(bool)
        chosen = select(ids, tags, splits, args.small, args.medium)
        writer.finish(splits, chosen)
    return write_card(folder, args.source, tags, splits, chosen, reasons, writer.with_title, synthetic), reasons


def is_made_up(source: str) -> bool:
    """Whether a source's rows are synthetic: made here, or Parquet that says so of itself."""
    from geograph_types.rows.parquet import is_synthetic
    from geograph_types.rows.sources import local_path

    if source.startswith("synthetic:"):
        return True
    return source.split("?")[0].lower().endswith(".parquet") and is_synthetic([local_path(source)])


def blocks_of(args: PrepareArguments, pool: ParserPool) -> Iterator[tuple[str, SourceRows]]:
    """All sources' checked rows, block by block, in order."""
    from geograph_types.rows.sources import line_blocks, local_path

    for source in args.source:
        kind = source.split("?")[0].lower()
        if kind.endswith(".parquet"):
            from geograph_types.rows.parquet import parquet_blocks

            yield from ((source, block) for block in parquet_blocks(local_path(source), source))
        elif kind.endswith((".csv", ".csv.gz", ".tsv")):
            from geograph_types.rows.photo_rows import photo_blocks

            yield from ((source, block) for block in photo_blocks(local_path(source), source, args.vision_model))
        else:
            yield from ((source, block) for block in pool.parse(line_blocks(source)))


def note_rejected(args: PrepareArguments, rejected: list[Rejected], reasons: Counter, read: int, file) -> None:
    for bad in rejected:
        if args.strict:
            raise cli.CommandError(f"{bad.source}, line {bad.line}: {bad.reason} (--strict: nothing was written)")
        reasons[kind_of(bad.reason)] += 1
        file.write(json.dumps(bad.as_json(), ensure_ascii=False) + "\n")
    judge(args, reasons, read, max(args.max_rejected, HOPELESS))


def judge(args: PrepareArguments, reasons: Counter, read: int, allowed: float) -> None:
    bad = reasons.total()
    if read >= ENOUGH_TO_JUDGE and bad > allowed * read:
        reason, times = reasons.most_common(1)[0]
        raise cli.CommandError(
            f"{', '.join(args.source)}: {bad} of {read} rows are bad ({times}: {reason}); is this the right format? "
            f"--max_rejected {args.max_rejected} allows fewer; nothing was written"
        )


def kind_of(reason: str) -> str:
    """A reason without its particulars, to count by."""
    return PARTICULARS.split(reason)[0].strip()


def report(args: PrepareArguments, output: Path, counts: dict, rejected: Counter) -> None:
    for config, splits in counts.items():
        print(f"{config}: " + ", ".join(f"{number:,} {split}" for split, number in splits.items()))
    if rejected:
        reasons = "; ".join(f"{number} {reason}" for reason, number in rejected.most_common())
        print(f"{rejected.total():,} rows rejected ({reasons}), see {output / 'rejected.jsonl'}", file=sys.stderr)
    print(f"{output}: load_dataset({args.output_dir!r}, 'small')")


if __name__ == "__main__":
    cli.run(main)
