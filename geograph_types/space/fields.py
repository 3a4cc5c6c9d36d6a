"""Gradio's fields as this page needs them: uploads as they are, with their own names; examples that run as shown.

Gradio would open each upload, fetch addresses, and answer in its own words where it cannot; here a file is a path and
a name, and what is wrong with it is said by those who read it.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client import handle_file

EXAMPLES = Path(__file__).resolve().parent / "examples"
# Where the examples are served, as `examples/NAME`.
EXAMPLE_ADDRESS = re.compile(r"https?://[^?#]*/examples/([\w.-]+)")
NO_ADDRESSES = "Addresses are not fetched here: upload the photo itself."


@dataclass(frozen=True)
class Upload:
    """A file that a visitor gave: where it lies, and what it was called."""

    path: str
    name: str


class Site:
    """Where the page is served: the documentation's examples name it."""

    address = "http://127.0.0.1:7860/"


def photo_field(**options: Any) -> gr.Image:
    """One photo → an `Upload`. (No class of its own: Gradio would write a stub file beside it.)"""
    field = _own_files(gr.Image(type="filepath", image_mode=None, **options))
    field.preprocess = _upload
    field.example_payload = lambda: handle_file(f"{Site.address}examples/{first_example().name}")
    return field


def photos_field(**options: Any) -> gr.File:
    """Many photos → `Upload`s."""
    field = _own_files(gr.File(file_count="multiple", **options))
    field.preprocess = lambda payload: [u for file in getattr(payload, "root", payload) or [] if (u := _upload(file))]
    return field


def text_field(**options: Any) -> gr.Textbox:
    """Text; the placeholder is the example that the API's documentation shows."""
    field = gr.Textbox(**options)
    field.preprocess = lambda payload: "" if payload is None else str(payload)
    field.example_payload = lambda: field.placeholder or ""
    return field


def row_field(**options: Any) -> gr.JSON:
    """A row as programs send it: a JSON object, or its text."""
    field = gr.JSON(**options)
    field.data_model = None
    field.preprocess = lambda payload: payload
    field.example_payload = lambda: json.loads((EXAMPLES / "rows.txt").read_text(encoding="utf-8").splitlines()[0])
    return field


def _own_files(field: Any) -> Any:
    """In the place of Gradio's way from a call to a file: no address is fetched, but an example is its own file."""

    async def own_file(url_or_file_path: Any) -> str:
        text = str(url_or_file_path)
        if (match := EXAMPLE_ADDRESS.fullmatch(text)) and (EXAMPLES / match[1]).is_file():
            return str(EXAMPLES / match[1])
        if re.match(r"[a-z][a-z0-9+.-]*:", text, re.IGNORECASE):
            raise gr.Error(NO_ADDRESSES, print_exception=False)
        return text

    field.async_move_resource_to_block_cache = own_file
    return field


def first_example() -> Path:
    return min(EXAMPLES.glob("*.jpg"))


def _upload(payload: Any) -> Upload | None:
    path = getattr(payload, "path", None)
    if not path:
        return None
    return Upload(str(path), " ".join(str(getattr(payload, "orig_name", None) or Path(path).name).split())[-120:])
