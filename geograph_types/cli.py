"""What all commands share: flags, errors that become one line and an exit status, progress."""

import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from geograph_types import TRACEBACK_VARIABLE
from geograph_types.files import ROOT, is_full
from geograph_types.stopping import PATIENCE, Stopped, leave, say_stopped, stoppable

if TYPE_CHECKING:  # its import takes longer than all else here, and whoever asks for --help sees no bar
    from tqdm import tqdm

# Characters of one word of a message, and of the whole: libraries quote their input whole, a vector in base64 too.
LONGEST_WORD, LONGEST_MESSAGE = 300, 1500

# How libraries and the loader say that there is no memory left, besides MemoryError.
OUT_OF_MEMORY = (
    "OutOfMemoryError",
    "can't allocate",
    "failed to map segment",
    "Cannot allocate memory",
    "can't start new thread",
)


class CommandError(Exception):
    """The work failed: one line that says what is wrong, where, and what to do."""


def parse_flags(*dataclasses: type, description: str, args: list[str] | None = None) -> tuple[Any, ...]:
    """Command line → one filled instance a dataclass; every flag is spelled with underscores.

    Wrong usage, a value that a dataclass's `__post_init__` refuses with a ValueError included, ends the
    program with status 2 and one line.
    """
    from geograph_types.flags import parser_of

    parser, filled = parser_of(dataclasses, description.strip())
    try:
        return filled(args)
    except ValueError as error:
        parser.error(one_line(error))


def run(main: Callable[[], None], patience: float = PATIENCE) -> NoReturn:
    """Runs a command's `main` and exits: 0 done, 1 failed with one line on stderr, 130, 143 or 129 stopped by Ctrl-C,
    SIGTERM or SIGHUP.

    Args:
        patience: seconds that a stopped command may take for its own cleaning up.
    """
    _open_closed_streams()
    try:
        with stoppable(patience):
            status = _status_of(main)
    except Stopped as stop:  # between the last lines of `main` and here
        say_stopped(stop.status)
        status = stop.status
    leave(status)


def _open_closed_streams() -> None:
    """Where a scheduler has closed our standard streams, no file that is opened later takes their numbers."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for as long as the program runs)


def _status_of(main: Callable[[], None]) -> int:
    try:
        main()
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        status = getattr(stop, "status", 130)
        say_stopped(status)
        return status
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return 0
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(f"{Path(sys.argv[0]).name}: error: {said_of(error)}", file=sys.stderr)
        return 1
    return 0


def _reader_left() -> bool:
    """Whether the reader of our results went away, as `| head` does; no other broken pipe is a success."""
    output = select.poll()
    output.register(sys.stdout.fileno(), select.POLLOUT)
    if not any(what & (select.POLLERR | select.POLLHUP) for _, what in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


@contextmanager
def naming_flag(flag: str) -> Iterator[None]:
    """Adds to the one line of an error inside which flag of this command names something else."""
    try:
        yield
    except (CommandError, ValueError, OSError) as error:
        raise CommandError(f"{one_line(error)} ({flag})") from error


def usage_error(message: str) -> NoReturn:
    """Ends the program as wrong usage does."""
    print(f"{Path(sys.argv[0]).name}: error: {message}; see --help", file=sys.stderr)
    sys.exit(2)


def said_of(error: BaseException) -> str:
    """Any exception as the one line that a command ends with."""
    if isinstance(error, MemoryError) or any(words in f"{type(error).__name__} {error}" for words in OUT_OF_MEMORY):
        return f"out of memory ({one_line(error)}); close other programs, or take smaller batches"
    if is_full(error):
        return f"{one_line(error)}; make room, then run the same command again"
    if isinstance(error, CommandError | ValueError | OSError | ImportError):
        return one_line(error)
    # What nobody foresaw: say where, so that it can be reported.
    return f"{type(error).__name__}: {one_line(error)}{_where(error)}; {TRACEBACK_VARIABLE}=1 shows more"


def _where(error: BaseException) -> str:
    """ " at train.py, line 12", the innermost line of ours."""
    found, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and "site-packages" not in path.relative_to(ROOT).parts:
            found = f" at {path.relative_to(ROOT)}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def one_line(error: BaseException | str) -> str:
    """What an exception says, in one line that a terminal can be shown: no control characters, long words cut."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        # Where a file is copied the first name is the source's.
        name = error.filename2 if error.filename2 and is_full(error) else error.filename
        text = f"{os.fsdecode(name) if isinstance(name, bytes) else name}: {error.strerror}"
    else:
        text = str(error)
    words = [_cut(word, LONGEST_WORD) for word in text.split()]
    text = _cut(" ".join(words), LONGEST_MESSAGE) or type(error).__name__
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", lambda c: repr(c[0])[1:-1], text)


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[: longest * 2 // 3]}… ({len(text):,} characters) …{text[-(longest // 6) :]}"


def progress(
    iterable=None, *, total: int | None = None, unit: str = "row", description: str | None = None, shown: bool = True
) -> "tqdm":
    """A bar on stderr with the rate and what remains; nothing where stderr is not a terminal, or not `shown`."""
    from tqdm import tqdm

    disable = None if shown else True
    return tqdm(
        iterable, total=total, unit=f" {unit}", desc=description, unit_scale=True, disable=disable, dynamic_ncols=True
    )


def say(message: str) -> None:
    """A line for the person at the terminal: stderr, clear of any bar. That it cannot be written stops no work."""
    from tqdm import tqdm

    with suppress(OSError):
        tqdm.write(one_line(message), file=sys.stderr)
