"""Bad rows: noted with line and reason, counted by kind, and too many of them an error by itself."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

from geograph_types.cli import CommandError
from geograph_types.dataset.arguments import PrepareArguments
from geograph_types.rows.addresses import public_name
from geograph_types.rows.fields import Rejected

REJECTED = "rejected.jsonl"
# Shares of bad rows are judged from here on.
ENOUGH_TO_JUDGE = 1000
# Beyond this share among the first rows nothing good can come: stop at once rather than after hours.
HOPELESS = 0.9
# Where what is particular to one row begins in a reason.
PARTICULARS = re.compile(r"[:;,'\"\[{(]|-?\d| (?:None|True|False)\b| such as ")


class Rejections:
    """The bad rows of all sources, written to `folder/rejected.jsonl` as they come.

    Attributes:
        reasons: kind of reason → rows. read: rows seen so far, good and bad.
    """

    def __init__(self, args: PrepareArguments, folder: Path):
        self.args, self.path = args, folder / REJECTED
        self.sources = ", ".join(map(public_name, args.source))
        self.reasons: Counter[str] = Counter()
        self.read = 0
        self.first: Rejected | None = None
        self._file = self.path.open("w", encoding="utf-8")

    def __enter__(self) -> "Rejections":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def note(self, rejected: list[Rejected], read: int) -> None:
        """The bad ones of `read` rows.

        Raises:
            CommandError: `--strict`, or almost nothing but bad rows.
        """
        self.read += read
        for bad in rejected:
            if self.args.strict:
                raise CommandError(f"{bad} (--strict: nothing was written)")
            self.first = self.first or bad
            self.reasons[kind_of(bad.reason)] += 1
            self._file.write(json.dumps(bad.as_json(), ensure_ascii=False) + "\n")
        self.judge(max(self.args.max_rejected, HOPELESS))

    def judge(self, allowed: float | None = None) -> None:
        """Refuses where more than the allowed share is bad."""
        bad, allowed = self.reasons.total(), self.args.max_rejected if allowed is None else allowed
        if self.read >= ENOUGH_TO_JUDGE and bad > allowed * self.read:
            reason, times = self.reasons.most_common(1)[0]
            self.fail(
                f"{self.sources}: {bad:,} of {self.read:,} rows are bad ({times:,}: {reason}); is this "
                f"the right format? --max_rejected {self.args.max_rejected} allows fewer; {self._example()}"
            )

    def nothing_good(self) -> None:
        """Refuses sources without a good row."""
        self.fail(f"{self.sources}: no good row in it; {self._example()}" if self.first else f"{self.sources}: no row")

    def _example(self) -> str:
        return f"the first: {self.first}"

    def fail(self, message: str) -> None:
        """Keeps the list beside the output, which is not written, and says where."""
        self._file.flush()
        kept = ""
        if self.reasons:
            output = Path(self.args.output_dir)
            beside = output.with_name(f"{output.name}.{REJECTED}")
            shutil.copyfile(self.path, beside)
            kept = f"; all are listed in {beside}"
        raise CommandError(message + kept)


def kind_of(reason: str) -> str:
    """A reason without its particulars, to count by."""
    return PARTICULARS.split(reason)[0].strip()
