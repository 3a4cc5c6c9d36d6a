"""What the official comparison needs, said before anything begins."""

import os
import shutil
from pathlib import Path

from geograph_types.cli import CommandError, say
from geograph_types.rows.sources import is_url

# The public rows have 242 MB; a dataset holds each vector in up to three configs; checkpoints are small.
ROWS_BYTES = 242 << 20
# Rows of text, compressed, to rows in Parquet, three times over.
GROWTH = 5


def check_needs(rows: str, weights: str | None, output: Path) -> None:
    """Says disk, time and network.

    Raises:
        CommandError: no such file, or too little disk.
    """
    for name in (rows, weights):
        if name and not is_url(name) and not Path(name).is_file():
            raise CommandError(f"{name}: no such file; name a file or an address")
    size = ROWS_BYTES if is_url(rows) else Path(rows).stat().st_size
    needed = size * GROWTH + (size if is_url(rows) else 0) + (100 << 20)
    output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output).free
    network = [name for name in (rows, weights) if name and is_url(name)]
    network += [] if weights else ["the official v2.3 (2 MB) from GitHub"]
    say(
        f"This needs about {needed / 1e9:.1f} GB of disk in {output} and the download's cache "
        f"({free / 1e9:.0f} GB are free), 8 GB of memory, and minutes to an hour on {os.cpu_count()} cores. "
        f"Network: {', '.join(network) or 'none'}. Stopped, it goes on at the next start. Nothing is pushed."
    )
    if free < needed:
        raise CommandError(
            f"{output}: {free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed; name another folder"
        )
