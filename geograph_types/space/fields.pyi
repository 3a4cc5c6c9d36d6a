"""Gradio's fields as this page needs them: uploads as they are, with their own names; examples that run as shown.

Gradio would open each upload, fetch addresses, and answer in its own words where it cannot; here a file is a path and
a name, and what is wrong with it is said by those who read it.
"""

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

class _OwnFiles:
    """No address is fetched; one of this page's own examples is the file that it names."""

    # Gradio then shows it as the component that it is made from.
    is_template = True
    # The documentation's example: an address of this page.
    base = "http://127.0.0.1:7860/"

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> Any:
        text = str(url_or_file_path)
        if (match := EXAMPLE_ADDRESS.fullmatch(text)) and (EXAMPLES / match[1]).is_file():
            return str(EXAMPLES / match[1])
        if re.match(r"[a-z][a-z0-9+.-]*:", text, re.IGNORECASE):
            raise gr.Error(NO_ADDRESSES, print_exception=False)
        return text

    def example_payload(self) -> Any:
        photo = handle_file(f"{self.base}examples/{first_example().name}")
        return [photo] if isinstance(self, gr.File) else photo

from gradio.events import Dependency

class Photo(gr.Image):
    """One photo → an `Upload`."""

    is_template = True
    async_move_resource_to_block_cache = own_file

    def preprocess(self, payload: Any) -> Upload | None:
        return _upload(payload)

    def example_payload(self) -> Any:
        return handle_file(f"{Site.address}examples/{first_example().name}")
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class Photos(gr.File):
    """Many photos → `Upload`s."""

    is_template = True
    async_move_resource_to_block_cache = own_file

    def preprocess(self, payload: Any) -> list[Upload]:
        files = getattr(payload, "root", payload) or []
        return [upload for file in files if (upload := _upload(file)) is not None]
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

class Field(gr.Textbox):
    """One line of text; its placeholder is the example that the API's documentation shows."""

    is_template = True

    def preprocess(self, payload: Any) -> str:
        return "" if payload is None else str(payload)

    def example_payload(self) -> str:
        return self.placeholder or ""
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def first_example() -> Path:
    return min(EXAMPLES.glob("*.jpg"))

def _upload(payload: Any) -> Upload | None:
    path = getattr(payload, "path", None)
    if not path:
        return None
    return Upload(str(path), " ".join(str(getattr(payload, "orig_name", None) or Path(path).name).split())[-120:])

class Row(gr.JSON):
    """A row as programs send it: a JSON object, or its text."""

    is_template = True
    data_model = None

    def preprocess(self, payload: Any) -> Any:
        return payload

    def example_payload(self) -> Any:
        return json.loads((EXAMPLES / "rows.txt").read_text(encoding="utf-8").splitlines()[0])
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block

    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component
