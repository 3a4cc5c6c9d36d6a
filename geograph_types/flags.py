"""Dataclasses → command-line flags, as `HfArgumentParser` makes them, without its imports: `--help` answers at once.

`HfArgumentParser` itself is used where a dataclass is transformers' own (`TrainingArguments`).
"""

import argparse
import dataclasses
import textwrap
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

TRUE, FALSE = ("yes", "true", "t", "y", "1"), ("no", "false", "f", "n", "0")


class Help(argparse.HelpFormatter):
    """`--help`: paragraphs are filled, indented lines are kept, a default is told where there is one."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = textwrap.dedent(text).strip().split("\n\n")
        return "\n\n".join(p if p.startswith(" ") else textwrap.fill(p, width) for p in paragraphs)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        silent = action.default is None or action.default is False or action.default in ([], argparse.SUPPRESS)
        silent = silent or action.nargs == 0 or "default:" in (action.help or "")
        return action.help if silent else f"{action.help} (default: %(default)s)"


class FlagParser(argparse.ArgumentParser):
    """A parser whose complaints are one line: the usage of many flags would hide what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{Path(self.prog).name}: error: {' '.join(message.split())}; see --help\n")


def parser_of(classes: Sequence[type], description: str) -> tuple[argparse.ArgumentParser, typing.Callable]:
    """The parser, and a function of its arguments that gives a filled instance a class."""
    if any(base.__module__.startswith("transformers") for one in classes for base in one.__mro__):
        from transformers import HfArgumentParser

        class HfFlagParser(FlagParser, HfArgumentParser):
            pass

        parser = HfFlagParser(tuple(classes), description=description, formatter_class=Help, allow_abbrev=False)
        return parser, lambda args: parser.parse_args_into_dataclasses(args, look_for_args_file=False)
    parser = FlagParser(description=description, formatter_class=Help, allow_abbrev=False)
    for one in classes:
        hints = typing.get_type_hints(one)
        for field in dataclasses.fields(one):
            if field.init:
                _add(parser, field, hints[field.name])
    return parser, lambda args: _filled(parser.parse_args(args), classes)


def _filled(found: argparse.Namespace, classes: Sequence[type]) -> tuple[Any, ...]:
    return tuple(one(**{f.name: getattr(found, f.name) for f in dataclasses.fields(one) if f.init}) for one in classes)


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field, hint: Any) -> None:
    """One field: its type says how its value is read, its metadata go to `add_argument`.

    `{"positional": True}` in the metadata makes it an argument without a flag.
    """
    options = dict(field.metadata)
    if "help" in options:
        options["help"] = options["help"].replace("%", "%%")  # as it is meant: argparse would take it for a format
    positional = options.pop("positional", False)
    kind, required = _plain(hint), field.default is dataclasses.MISSING
    if field.default_factory is not dataclasses.MISSING:
        options["default"], required = field.default_factory(), False
    elif not required:
        options["default"] = field.default
    if typing.get_origin(kind) is list:
        options = {"nargs": "+"} | options
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        options["choices"], kind = typing.get_args(kind), str
    if kind is bool:
        options |= {"type": _boolean, "nargs": "?", "const": True}
    else:
        options["type"] = kind
    if positional:
        if not required:
            options.setdefault("nargs", "?")
        parser.add_argument(field.name, **options)
        return
    names = dict.fromkeys([f"--{field.name}", f"--{field.name.replace('_', '-')}"])
    parser.add_argument(*names, required=required, **options)
    if field.default is True:
        names = dict.fromkeys([f"--no_{field.name}", f"--no-{field.name.replace('_', '-')}"])
        parser.add_argument(*names, dest=field.name, action="store_false", help=f"turns --{field.name} off")


def _plain(hint: Any) -> Any:
    """`X | None` → X."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(one for one in typing.get_args(hint) if one is not type(None))
    return hint


def _boolean(text: str) -> bool:
    if text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")
