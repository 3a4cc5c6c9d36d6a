"""Pages from templates, and strangers' text on them: shown as text."""

import html
import re
from pathlib import Path
from typing import Any

# What Markdown or HTML would read as markup.
MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def fill_card(template: str | Path, values: dict[str, Any]) -> str:
    """A card's template with its gaps filled; sections whose values are missing stay out.

    A template asks for what it needs by name and tests for what may be missing (`{% if metrics %}`).
    """
    from jinja2 import Environment

    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)  # noqa: S701 (Markdown)
    text = Path(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(values).strip() + "\n"


def printable(text: str) -> str:
    """Control characters, which could move a terminal's cursor or end a line, as `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def as_code(text: str) -> str:
    """A stranger's text as Markdown code, where nothing in it is markup."""
    text = printable(text).replace("{{", "{ {").replace("{%", "{ %")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    blank = " " if len(fence) > 1 or text[:1] == "`" else ""
    return f"{fence}{blank}{text}{blank}{fence}" if text else "``` ```"


def as_text(text: str) -> str:
    """A stranger's text among Markdown, where nothing in it is markup."""
    return html.escape(MARKUP.sub(r"\\\1", printable(text)), quote=False).replace("\\&lt;", "&lt;").replace(
        "\\&gt;", "&gt;"
    )  # fmt: skip
