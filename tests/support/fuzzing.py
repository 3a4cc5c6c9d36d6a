"""How many cases a fuzz test tries: a short, fixed part in the ordinary suite, as many as `GEOGRAPH_FUZZ` says else.

GEOGRAPH_FUZZ=5000 python -m pytest tests/fuzz -s
"""

import os
from collections import Counter

from hypothesis import HealthCheck, settings

VARIABLE = "GEOGRAPH_FUZZ"
MANY = int(os.environ.get(VARIABLE, "0"))

# Test → cases tried, whatever became of them.
TRIED: Counter = Counter()


def cases(short: int):
    """The settings of one test: `short` examples, always the same ones, unless the variable asks for more."""
    return settings(
        max_examples=MANY or short,
        derandomize=not MANY,
        database=None,
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


def report() -> None:
    """Prints what was tried; with `-s` it is seen."""
    for name, count in sorted(TRIED.items()):
        print(f"\n{name}: {count:,} cases", end="")
    print(f"\n{sum(TRIED.values()):,} cases tried in all")
