"""The library behind the commands: rows, dataset, training, evaluation, prediction, hub, space.

Importing it imports nothing else: each room loads what it needs when it is used.
"""

import os
import sys
from types import TracebackType

__version__ = "2.0.0"

# Set it to see the traceback behind an error's one line.
TRACEBACK_VARIABLE = "GEOGRAPH_TRACEBACK"


def _say_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    words = {KeyboardInterrupt: "stopped by Ctrl-C", MemoryError: "error: out of memory while loading its libraries"}
    if kind not in words or os.environ.get(TRACEBACK_VARIABLE):
        sys.__excepthook__(kind, error, trace)
    else:
        print(f"{os.path.basename(sys.argv[0])}: {words[kind]}", file=sys.stderr)  # noqa: PTH119


# While a command still loads what it needs: Python then ends as it does, but without a traceback.
_command = getattr(sys.modules.get("__main__"), "__file__", None) or ""
if os.path.realpath(os.path.dirname(_command)) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):  # noqa: PTH120
    sys.excepthook = _say_in_one_line
