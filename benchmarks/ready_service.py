"""A labelling service whose own cost is near nothing: its answers are bytes before anyone asks.

Real sockets, HTTP/1.1 and keep-alive in a process of its own. Lists of photos are made once and sent as they are; what
is posted is only counted as it comes, and read when the run is over. A list that was handed out and never posted is
handed out again after `lease` seconds.
"""

import contextlib
import multiprocessing
import re
import socket
import threading
import time
from collections import Counter

import numpy as np
import orjson
import pybase64

# Different vectors; the rows beyond take them again, under their own numbers.
VECTORS = 5000
SECONDS_TO_END = 30
FIRST_ID = re.compile(rb'"image_id": ?(\d+)')
NOTHING = b'{"sleep":0,"rows":[]}'


def made_lists(count: int, limit: int) -> list[bytes]:
    """Photos 1 to `count` as a service sends them, `limit` a list, with their vectors."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((min(count, VECTORS), 512)).astype("<f4") * 0.45
    texts = [pybase64.b64encode_as_string(vector.tobytes()) for vector in vectors]
    return [
        orjson.dumps(
            {
                "sleep": 0,
                "rows": [
                    {"gridimage_id": i, "distance": "16", "embeddings": texts[i % len(texts)]}
                    for i in range(first, min(first + limit, count + 1))
                ],
            }
        )
        for first in range(1, count + 1, limit)
    ]


class ReadyService:
    """Hands out `lists`, the photos of each being `limit` numbers in a row from 1 on. `begun` and `ended`: when it was
    first asked, and last posted to."""

    def __init__(self, lists: list[bytes], limit: int, lease: float):
        self.lists, self.limit, self.lease = [with_head(body) for body in lists], limit, lease
        self.free_from = dict.fromkeys(range(len(lists)), 0.0)  # lists that were not posted yet → until when leased
        self.posted: list[bytes] = []
        self.begun = self.ended = 0.0
        self.lock = threading.Lock()
        self.nothing, self.thanks = with_head(NOTHING), with_head(b"thanks")
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/labeler.json.php?model=types"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self.listening.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb", buffering=1 << 18) as incoming, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while words := incoming.readline().split():
                length, lasts = 0, True
                while (line := incoming.readline().strip().lower()) and line:
                    name, _, value = line.partition(b":")
                    length = int(value) if name == b"content-length" else length
                    lasts = lasts and (name, value.strip()) != (b"connection", b"close")
                if words[0] == b"GET":
                    connection.sendall(self._next_list())
                else:
                    body = incoming.read(length)
                    if len(body) < length:  # whoever posted was killed
                        return
                    self._take(body)
                    connection.sendall(self.thanks)
                if not lasts:
                    return

    def _next_list(self) -> bytes:
        now = time.monotonic()
        self.begun = self.begun or now
        with self.lock:
            for number, until in self.free_from.items():
                if until <= now:
                    # To the end of the queue, so that the next free one stands in front.
                    del self.free_from[number]
                    self.free_from[number] = now + self.lease
                    return self.lists[number]
                break
        return self.nothing

    def _take(self, body: bytes) -> None:
        number = (int(FIRST_ID.search(body)[1]) - 1) // self.limit
        with self.lock:
            self.posted.append(body)
            self.free_from.pop(number, None)
        self.ended = time.monotonic()

    def times(self) -> Counter:
        """Photo → in how many posted lists it stands."""
        return Counter(i for body in self.posted for i in {entry["image_id"] for entry in orjson.loads(body)})


def with_head(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def serve(rows: int, limit: int, lease: float, pipe) -> None:
    """The service's process: sends its address, and then what it is asked for."""
    service = ReadyService(made_lists(rows, limit), limit, lease)
    pipe.send(service.url)
    while (word := pipe.recv()) != "end":
        if word == "lists":
            pipe.send(len(service.posted))
            continue
        times = service.times()
        pipe.send((service.ended - service.begun, len(times), max(times.values(), default=0)))


class Run:
    """A service with so many rows, in a process of its own; use it as a context."""

    def __init__(self, rows: int, limit: int, lease: float = 20.0):
        self._pipe, other = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=serve, args=(rows, limit, lease, other), daemon=True)
        self._process.start()
        self.url = self._pipe.recv()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        self._pipe.send("end")
        self._process.join(SECONDS_TO_END)

    def lists(self) -> int:
        """Lists posted so far."""
        self._pipe.send("lists")
        return self._pipe.recv()

    def so_far(self) -> tuple[float, int, int]:
        """Seconds from the first request to the last post, photos posted, and how often one was at most."""
        self._pipe.send("so far")
        return self._pipe.recv()
