"""A labelling service on this machine: real HTTP, photos that are handed out until their labels came."""

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import orjson
import pybase64


def rows_of(count: int, first: int = 1, seed: int = 0) -> list[dict]:
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, 512)).astype("<f4") * 0.45
    texts = ["", "0", "1", "16", "1048576", "Unknown", " 64", "far", None, 256]
    return [
        {
            "gridimage_id": first + i,
            "distance": texts[i % len(texts)],
            "embeddings": pybase64.b64encode_as_string(vectors[i]),
        }
        for i in range(count)
    ]


class LabellingService:
    """Hands out `rows`, at most `limit` at a time, and takes lists. Use it as a context.

    Attributes:
        leases: whether a photo that was handed out is not handed out again for `lease` seconds.
        sleep: what it asks for. prefix: of photos. photos: path → bytes, served below /photos/.
        on_get, on_post: called with the handler before anything is done; True: they have answered by themselves.
        lists: every list that was taken, in order. asked: the query of every GET.
    """

    def __init__(self, rows: list[dict], leases: bool = True, sleep: float | None = 0, lease: float = 3.0):
        self.rows = {int(row["gridimage_id"]): row for row in rows}
        self.leases, self.sleep, self.lease = leases, sleep, lease
        self.photos: dict[str, bytes] = {}
        self.lists: list[list[dict[str, Any]]] = []
        self.asked: list[dict[str, list[str]]] = []
        self.posts = 0
        self.on_get = self.on_post = lambda handler: False
        self.open = dict.fromkeys(self.rows, 0.0)  # photo → until when it is leased
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{self.address}/labeler.json.php?model=types"

    def __enter__(self) -> "LabellingService":
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def hand_out(self, limit: int) -> dict[str, Any]:
        """The answer to a GET."""
        with self.lock:
            now, given = time.monotonic(), []
            for image_id, until in self.open.items():
                if len(given) == limit:
                    break
                if until <= now:
                    given.append(image_id)
            if self.leases:
                self.open |= dict.fromkeys(given, now + self.lease)
        answer = {"rows": [self.rows[i] for i in given], "prefix": f"{self.address}/photos/"}
        return answer if self.sleep is None else answer | {"sleep": self.sleep}

    def take(self, posted: list[dict[str, Any]]) -> None:
        """A list that arrived."""
        with self.lock:
            self.lists.append(posted)
            for entry in posted:
                self.open.pop(entry["image_id"], None)

    def forget(self) -> None:
        """As if nothing had been asked or posted."""
        with self.lock:
            self.lists.clear()
            self.asked.clear()
            self.open = dict.fromkeys(self.rows, 0.0)

    def times(self) -> Counter:
        """Photo → in how many taken lists of labels it stands."""
        lists = [posted for posted in self.lists if "label" in posted[0]]
        return Counter(i for posted in lists for i in {entry["image_id"] for entry in posted})

    def labels(self) -> list[tuple[int, str, float]]:
        """All labels that were taken, sorted."""
        return sorted((e["image_id"], e["label"], e["score"]) for posted in self.lists for e in posted if "label" in e)

    def _handler(service) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                if parts.path.startswith("/photos/"):
                    photo = service.photos.get(parts.path.removeprefix("/photos/"))
                    return self.answer(404 if photo is None else 200, photo or b"no such photo")
                service.asked.append(parse_qs(parts.query))
                if not service.on_get(self):
                    limit = int(service.asked[-1]["limit"][0])
                    self.answer(200, orjson.dumps(service.hand_out(limit)))

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers["Content-Length"]))
                service.posts += 1
                if not service.on_post(self):
                    service.take(orjson.loads(self.body))
                    self.answer(200, b"thanks\nfor them")

            def answer(self, status: int, data: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
