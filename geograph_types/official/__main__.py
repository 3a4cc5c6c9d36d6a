"""The official results from one command: `make official`, or python -m geograph_types.official.

Downloads the public rows, prepares them, trains the default and the official recipe, converts the official v2.3,
evaluates the three on the same test rows, fills the card and writes a table. Stopped, and started again, it goes on
with what is missing. Nothing is pushed.

    OFFICIAL_ROWS=URL_OR_FILE      other rows than the public ones
    OFFICIAL_WEIGHTS=URL_OR_FILE   other weights than the official v2.3
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from geograph_types.cli import CommandError, parse_flags, run, say

ROWS = "https://development.geograph.org.uk/ai/types_dataset_1.jsonl.gz"


@dataclass
class OfficialArguments:
    rows: str = field(
        default_factory=lambda: os.environ.get("OFFICIAL_ROWS") or ROWS,
        metadata={"help": "official rows, an address or a file; default: $OFFICIAL_ROWS, else the public ones"},
    )
    weights: str | None = field(
        default_factory=lambda: os.environ.get("OFFICIAL_WEIGHTS") or None,
        metadata={"help": "the official v2.3, an address or a .pth; default: $OFFICIAL_WEIGHTS, else downloaded"},
    )
    output_dir: str = field(default="official", metadata={"help": "where all of it goes"})
    table: str | None = field(
        default=None, metadata={"help": "the table's file; default: docs/official.md for the public rows, else inside"}
    )
    epochs: float | None = field(default=None, metadata={"help": "fewer epochs than the recipes', to try it all"})


def main() -> None:
    (args,) = parse_flags(OfficialArguments, description=__doc__)
    from geograph_types.files import ROOT
    from geograph_types.official.needs import check_needs
    from geograph_types.official.steps import Steps, steps_of
    from geograph_types.official.table import write_table

    if not (ROOT / "train.py").is_file():
        raise CommandError("the official comparison runs the commands of a clone of this project; they are not here")
    output, public = Path(args.output_dir), args.rows == ROWS
    table = Path(args.table) if args.table else ROOT / "docs" / "official.md" if public else output / "official.md"
    check_needs(args.rows, args.weights, output)
    steps = Steps(output)
    for step in steps_of(args, output):
        steps.do(step)
    write_table(output / "report" / "metrics.json", table, args.rows)
    print(table.read_text(encoding="utf-8"))
    report = output / "report" / "report.html"
    say(f"{table}: the table; {report}: the report; {output / 'default'}: the model, with its card")


if __name__ == "__main__":
    sys.argv[0] = "official"
    run(main)
