"""What all commands share: flags, errors that become one line and an exit status, progress."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

# Set it to see the traceback behind an error's one line.
TRACEBACK_VARIABLE = "GEOGRAPH_TRACEBACK"


class CommandError(Exception):
    """The work failed: one line that says what is wrong, where, and what to do."""


def parse_flags(*dataclasses: type, description: str, args: list[str] | None = None) -> tuple[Any, ...]:
    """Command line → one filled instance a dataclass; every flag is spelled with underscores.

    Wrong usage, a value that a dataclass's `__post_init__` refuses with a ValueError included, ends the
    program with status 2 and argparse's one line.
    """
    from transformers import HfArgumentParser  # here, since worker processes import this file, too

    parser = HfArgumentParser(dataclasses, description=description.strip())
    try:
        return parser.parse_args_into_dataclasses(args, look_for_args_file=False)
    except ValueError as error:
        parser.error(_one_line(error))


def run(main: Callable[[], None]) -> NoReturn:
    """Runs a command's `main` and exits: 0 done, 1 failed with one line on stderr, 130 stopped by Ctrl-C."""
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our results went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        print("\nstopped; finished work was kept", file=sys.stderr)
        sys.exit(130)
    except (CommandError, ValueError, OSError) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"{Path(sys.argv[0]).name}: error: {_one_line(error)}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


@contextmanager
def naming_flag(flag: str) -> Iterator[None]:
    """Adds to the one line of an error inside which flag of this command names something else."""
    try:
        yield
    except (CommandError, ValueError, OSError) as error:
        raise CommandError(f"{_one_line(error)} ({flag})") from error


def usage_error(message: str) -> NoReturn:
    """Ends the program as wrong usage does."""
    print(f"{Path(sys.argv[0]).name}: error: {message}; see --help", file=sys.stderr)
    sys.exit(2)


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def progress(iterable=None, *, total: int | None = None, unit: str = "row", description: str | None = None) -> tqdm:
    """A bar on stderr with the rate and what remains; nothing where stderr is not a terminal."""
    return tqdm(
        iterable, total=total, unit=f" {unit}", desc=description, unit_scale=True, disable=None, dynamic_ncols=True
    )


def say(message: str) -> None:
    """A line for the person at the terminal: stderr, clear of any bar."""
    tqdm.write(message, file=sys.stderr)
