"""The page on the network: its own words where Gradio would use its, no upload beyond the limits, a quiet end."""

import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from geograph_types.space import page as pages
from geograph_types.space.fields import EXAMPLES, Site
from geograph_types.space.theme import theme
from geograph_types.space.uploads import MIB, QUEUE_SIZE, Uploads

# Visitors of whom Gradio remembers something at once: each keeps memory.
SESSIONS = 50
# Answers that nobody has come for; older ones are forgotten.
UNCOLLECTED = 200
BUSY = f"Many people are asking just now: {QUEUE_SIZE} questions wait already. Please try again in a minute."
# What the API's fields are where a call leaves them out.
DEFAULTS = {"classify": [None, "", "", ""], "classify_embedding": [""]}
MAX_BODY = MIB


def launch(page: gr.Blocks, uploads: Uploads, port: int) -> str:
    """Serves the page and returns its address."""
    queue = page._queue
    push = queue.push

    async def pushed(*args: Any, **kwargs: Any):
        done, said, status = await push(*args, **kwargs)
        return (done, BUSY, status) if status == "queue_full" else (done, said, status)

    queue.push = pushed
    host = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1")  # noqa: S104
    space_host = os.environ.get("SPACE_HOST")
    Site.address = f"https://{space_host}/" if space_host else f"http://127.0.0.1:{port}/"
    _, address, _ = page.launch(
        server_name=host, server_port=port, max_file_size=uploads.file_limit, theme=theme(), quiet=False,
        css=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"), head=pages.script(uploads),
        show_error=True, footer_links=["api"], run_history=False, state_session_capacity=SESSIONS,
        prevent_thread_lock=True,
        app_kwargs={
            "routes": [Mount("/examples", StaticFiles(directory=EXAMPLES))],
            "middleware": [Middleware(OwnWords, uploads=uploads, page=page)],
        },
    )  # fmt: skip
    return address


def serve_until_told(page: gr.Blocks, uploads: Uploads) -> None:
    """Waits for Ctrl-C, SIGTERM or SIGHUP; then nothing of what visitors sent is left."""
    ended = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: ended.set())
    try:
        while not ended.wait(0.5):
            pass
    finally:
        uploads.remove()
        page.close(verbose=False)
        uploads.remove()


def forget_answered(page: gr.Blocks) -> None:
    """Lets go of what Gradio would keep of each call for as long as the process lives: its session's two entries in
    the queue, and its uploads' paths (`Uploads` removes the files). To be called on the server's own event loop.
    """
    queue = page._queue
    sessions, running = queue.pending_event_ids_session, queue.event_ids_to_events
    answered = [session for session, events in sessions.items() if not events]
    uncollected = [session for session, events in sessions.items() if events and not events & running.keys()]
    for session in answered + uncollected[: max(len(uncollected) - UNCOLLECTED, 0)]:
        sessions.pop(session, None)
        queue.pending_messages_per_session.pop(session, None)
    for files in page.temp_file_sets:
        files.clear()


class OwnWords:
    """ASGI: what a call leaves out is filled in, what it gets wrong is said in a sentence, uploads are bounded."""

    def __init__(self, app: Any, uploads: Uploads, page: gr.Blocks):
        self.app, self.uploads, self.page = app, uploads, page

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, method = scope["path"], scope["method"]
        if method == "POST" and path.rstrip("/").endswith("/upload"):
            return await self._upload(scope, receive, send)
        if method == "POST" and (
            match := re.search(r"/gradio_api/(?:(call|run)(?:/(v2))?/(\w+)|queue/join)/?$", path)
        ):
            return await self._call(match, scope, receive, send)
        if method == "GET" and path in ("/", ""):
            return await self.app(scope, receive, _Previews(send, _address(scope)))
        if method == "GET" and re.search(r"/gradio_api/(?:queue/data|call/\w+/\w+)$", path):
            try:
                return await self.app(scope, receive, send)
            finally:
                forget_answered(self.page)
        return await self.app(scope, receive, send)

    async def _upload(self, scope: dict, receive: Any, send: Any) -> None:
        size = dict(scope["headers"]).get(b"content-length", b"")
        if not size.isdigit():
            return await _say(send, 411, "An upload says how long it is (Content-Length).")
        if not self.uploads.room_for(int(size), id(scope)):
            return await _say(send, 413, f"This is too large: at most {self.uploads.limit // MIB} MB at once.")
        too_large = f"A photo is at most {self.uploads.file_limit // MIB} MB."
        try:
            await self.app(scope, receive, _InOwnWords(send, {413: too_large, 400: "This upload could not be read."}))
        finally:
            self.uploads.arrived(id(scope))

    async def _call(self, match: re.Match, scope: dict, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                return await _say(send, 413, "This call is too large: upload the photo first, then name it.")
            if not message.get("more_body"):
                break
        kind, version, name = match[1], match[2], match[3]
        if kind and name not in DEFAULTS:
            return await _say(send, 404, f"There is no /{name}: the calls are {', '.join('/' + n for n in DEFAULTS)}.")
        try:
            body = json.dumps(_filled(json.loads(body or b"{}"), name, version, self.uploads.folder)).encode()
        except ValueError as error:
            sentence = "The call's body is not JSON." if isinstance(error, json.JSONDecodeError) else str(error)
            return await _say(send, 422, sentence)
        headers = [(k, v) for k, v in scope["headers"] if k not in (b"content-length", b"content-type")]
        headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        scope = scope | {"headers": headers}
        sent = False

        async def again() -> dict:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, _InOwnWords(send, {500: None} if kind else {}))


def _filled(body: Any, name: str | None, version: str | None, folder: Path) -> Any:
    """A call with its defaults in the place of what it leaves out.

    Raises:
        ValueError: one sentence that says what is wrong with it.
    """
    if not isinstance(body, dict):
        raise ValueError("The call's body is a JSON object.")
    data = list(body.values()) if version else body.get("data", [])
    if not isinstance(data, list):
        raise ValueError("“data” is a list of the call's values, in their order.")
    if name and not version:
        defaults = DEFAULTS[name]
        if len(data) > len(defaults):
            raise ValueError(f"/{name} takes at most {len(defaults)} values, got {len(data)}.")
        body = body | {"data": [*data, *defaults[len(data) :]]}
    elif name and version:
        body = {**({"photo": None} if name == "classify" else {"row": ""}), **body}
    for value in data:
        for file in value if isinstance(value, list) else [value]:
            if isinstance(file, dict) and "path" in file:
                file["path"] = _uploaded_here(str(file["path"]), folder)
    return body


def _uploaded_here(path: str, folder: Path) -> str:
    """A path in the folder of uploads, and any address, as it is; else an address, since all of them are refused."""
    inside = folder in Path(os.path.abspath(path)).parents  # noqa: PTH100 (no link is followed)
    return path if inside or re.match(r"https?://", path) else "http://refused.invalid/"


def _address(scope: dict) -> str:
    headers = dict(scope["headers"])
    scheme = headers.get(b"x-forwarded-proto", scope.get("scheme", "http").encode()).decode("latin-1").split(",")[0]
    return f"{scheme}://{headers.get(b'host', b'localhost').decode('latin-1')}/"


async def _say(send: Any, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence, "detail": sentence}, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Whole:
    """Holds an answer back until it is whole, so that it can be changed."""

    def __init__(self, send: Any):
        self.send, self.start, self.body = send, None, b""

    def wanted(self, start: dict) -> bool:
        raise NotImplementedError

    def changed(self, start: dict, body: bytes) -> tuple[int, bytes]:
        raise NotImplementedError

    async def __call__(self, message: dict) -> None:
        if message["type"] == "http.response.start" and self.wanted(message):
            self.start = message
        elif self.start is None:
            await self.send(message)
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                status, body = self.changed(self.start, self.body)
                headers = [(k, v) for k, v in self.start["headers"] if k.lower() != b"content-length"]
                headers.append((b"content-length", str(len(body)).encode()))
                await self.send(self.start | {"status": status, "headers": headers})
                await self.send({"type": "http.response.body", "body": body})


class _InOwnWords(_Whole):
    """Errors of Gradio's own in a sentence; a visitor's mistake, which comes as status 500, as 422."""

    def __init__(self, send: Any, sentences: dict[int, str | None]):
        super().__init__(send)
        self.sentences = sentences

    def wanted(self, start: dict) -> bool:
        return start["status"] in self.sentences

    def changed(self, start: dict, body: bytes) -> tuple[int, bytes]:
        sentence = self.sentences[start["status"]]
        return (422, body) if sentence is None else (start["status"], sentence.encode())


class _Previews(_Whole):
    """The page's own name in the previews of links, in the place of Gradio's."""

    def __init__(self, send: Any, address: str):
        super().__init__(send)
        self.address = address

    def wanted(self, start: dict) -> bool:
        return b"text/html" in dict(start["headers"]).get(b"content-type", b"")

    def changed(self, start: dict, body: bytes) -> tuple[int, bytes]:
        picture = f"{self.address}examples/{pages.examples()[0]['file']}"
        said = {"title": pages.TITLE, "description": pages.ABOUT, "image": picture, "url": self.address}
        text = re.sub(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>', "", body.decode())
        tags = "".join(f'<meta property="og:{name}" content="{value}">' for name, value in said.items())
        tags += '<meta property="og:type" content="website"><meta name="twitter:card" content="summary_large_image">'
        return start["status"], text.replace("<head>", f"<head><title>{pages.TITLE}</title>{tags}", 1).encode()
