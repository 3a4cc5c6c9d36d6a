"""A labelling service by its one address: asked for photos, given their labels. The official script's protocol.

What a POST came to is told apart by whether the service can have taken the list: see `Outcome`.
"""

import hashlib
import math
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import orjson
import urllib3

from geograph_types.cli import CommandError, say
from row_geograph import shown

# Seconds: between two tries where the service named no other time (the official script's), and at most.
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0
SHORTEST_WAIT = 1.0
POST_TRIES = 3
# Seconds after an answer in which the next list leaves by the same connection. Services keep one open for 5 s or more
# without work; a list that meets one that is being closed would look like a lost answer.
REUSED_WITHIN = 1.0
# Before the service has answered at all, so often: an address that is wrong should not be tried for ever.
START_TRIES = 3
# What a service may ask for by `sleep`: then it is asked again.
LONGEST_PACE = 24 * 3600.0
# Bytes of an answer: 500 rows have 1.4 MB.
LONGEST_ANSWER = 256 << 20
ADDRESS = ("http://", "https://")
SHOWN = 300  # characters of the service's words

# What asking again cannot change.
HOPELESS = frozenset({400, 401, 403, 404, 405, 410, 451})
# A gateway that lost its server says so by these: the list may have arrived behind it.
LOST_BEHIND_GATEWAY = frozenset({502, 504, 524})
# Errors before the first byte of a list was sent.
NOTHING_LEFT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)


class Outcome(StrEnum):
    """What became of a list that was posted."""

    TAKEN = "taken"
    REFUSED = "refused"  # it was not taken, and may be posted again
    DOUBTFUL = "doubtful"  # it left, and no answer came: the service may have taken it or not


@dataclass(frozen=True)
class Answer:
    """What the service said to a POST. `status` is None where it said nothing."""

    outcome: Outcome
    status: int | None
    text: str
    wait: float | None = None  # seconds that it asked for


@dataclass(frozen=True)
class Batch:
    """What the service handed out. `asked_at` is when it was asked, by `time.time()`."""

    rows: list[dict[str, Any]]
    prefix: str
    asked_at: float
    message: str = ""  # what it said in place of rows


class ServiceError(Exception):
    """The service could not be asked; later it may. `hopeless`: by the same request it never will."""

    def __init__(self, message: str, hopeless: bool = False, wait: float | None = None):
        super().__init__(message)
        self.hopeless, self.wait = hopeless, wait


def check_address(url: str) -> None:
    """Refuses what is no address; the message does not repeat it, as there may be a password in it.

    Raises:
        ValueError: not an http or https address.
    """
    try:
        found = urllib3.util.parse_url(url)
        good = found.scheme in ("http", "https") and bool(found.host) and urlsplit(url).port != 0
        good = good and found.fragment is None  # what is asked for would stand behind the # and never leave
    except (ValueError, urllib3.exceptions.LocationValueError):
        good = False
    if not good:
        raise ValueError("--url must be an http or https address, such as https://HOST/labeler.json.php?model=types")


def host_of(url: str) -> str:
    """An address for messages: without what stands behind `?`, which may be a key, and without a password."""
    parts = urlsplit(url)
    host = parts.hostname or "?"
    return f"{parts.scheme}://{host}{f':{parts.port}' if parts.port else ''}{parts.path}"


def fingerprint(url: str) -> str:
    """Tells addresses apart without keeping them; a new password makes no other service."""
    parts = urlsplit(url)
    return hashlib.sha256(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().encode()).hexdigest()


@dataclass
class Service:
    """Asks and posts. `stop` ends every wait; `pace` is the seconds that the service last asked for."""

    url: str
    worker: int = 0
    limit: int = 500
    timeout: float = 30.0
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.name = host_of(self.url)
        self.pace: float | None = None
        self._next_time = 0.0
        self._answered = False
        self._pool = _pool(self.url, self.timeout, connections=1)
        self._posted_at = -math.inf
        self._poster = _pool(self.url, self.timeout, connections=1)
        self.ask_url = (
            f"{self.url}{'&' if '?' in self.url else '?'}embeddings=1&limit={self.limit}&unique_number={self.worker}"
        )

    def ask(self) -> Batch | None:
        """The next batch, after the time that the service asked for; tries again until `stop`, which gives None.

        Raises:
            CommandError: the address is wrong, or nothing answers there at the start.
        """
        tries = 0
        while not self._wait_until(self._next_time):
            try:
                batch = self._ask_once()
            except ServiceError as error:
                tries += 1
                if not self._answered and (error.hopeless or tries >= START_TRIES):
                    raise CommandError(f"{self.name}: {error}") from None
                wait = self.wait_after(tries, error.wait)
                say(f"{self.name}: {error}; asking again in {wait:.0f} s")
                self._next_time = time.monotonic() + wait
                continue
            self._answered = True
            self._next_time = time.monotonic() + (self.pace or 0)
            if (self.pace or 0) > LONGEST_WAIT:
                say(f"{self.name}: it wants to be asked again in {self.pace / 60:,.0f} minutes")
            return batch
        return None

    def wait_after(self, tries: int, asked: float | None = None) -> float:
        """Seconds to wait after so many failed tries: twice as long each time, at most five minutes; or as `asked`."""
        base = max(SHORTEST_WAIT if self.pace == 0 else self.pace or FIRST_WAIT, 0.05)
        return max(min(base * 2 ** min(tries - 1, 30), LONGEST_WAIT), asked or 0)

    def pause(self, seconds: float) -> None:
        """Nothing is asked for so long."""
        self._next_time = max(self._next_time, time.monotonic() + seconds)

    def _wait_until(self, moment: float) -> bool:
        """Whether `stop` came before or meanwhile."""
        return self.stop.wait(max(0.0, moment - time.monotonic()))

    def _ask_once(self) -> Batch:
        asked_at = time.time()
        try:
            response = self._pool.request("GET", self.ask_url, preload_content=False, retries=redirects())
            data = read_at_most(response, LONGEST_ANSWER)
        except urllib3.exceptions.HTTPError as error:
            raise ServiceError(_reason(error)) from None
        if data is None:
            raise ServiceError(f"its answer is longer than {LONGEST_ANSWER >> 20} MiB")
        if response.status != 200:
            said = f"it answered {response.status} {response.reason or ''}".strip()
            raise ServiceError(f"{said}{_quoted(data)}", response.status in HOPELESS, _retry_after(response))
        try:
            answer = orjson.loads(data)
        except ValueError:
            raise ServiceError(f"its answer is not JSON{_quoted(data)}") from None
        return self._batch(answer, asked_at)

    def _batch(self, answer: Any, asked_at: float) -> Batch:
        if not isinstance(answer, dict):
            raise ServiceError(f"its answer is a {type(answer).__name__}, expected an object with rows")
        self.pace = _seconds(answer.get("sleep"), self.pace)
        rows = answer.get("rows") or []
        if not isinstance(rows, list):
            raise ServiceError(f"its rows are a {type(rows).__name__}, expected a list")
        rest = {key: value for key, value in answer.items() if key not in ("rows", "sleep", "prefix")}
        message = "" if rows or not rest else orjson.dumps(rest).decode()[:SHOWN]
        return Batch(rows, _prefix(answer.get("prefix"), rows), asked_at, message)

    def post(self, body: bytes) -> Answer:
        """Posts one list, once."""
        headers = self._poster.headers | {"Content-Type": "application/json"}
        if time.monotonic() - self._posted_at > REUSED_WITHIN:
            self._poster.clear()
        try:
            response = self._poster.request("POST", self.url, body=body, headers=headers, retries=False)
            self._posted_at = time.monotonic()
        except NOTHING_LEFT as error:
            return Answer(Outcome.REFUSED, None, _reason(error))
        except urllib3.exceptions.SSLError as error:
            before = "CERTIFICATE" in str(error).upper()  # it is looked at before anything is sent
            return Answer(Outcome.REFUSED if before else Outcome.DOUBTFUL, None, _reason(error))
        except urllib3.exceptions.HTTPError as error:
            return Answer(Outcome.DOUBTFUL, None, _reason(error))
        text = " ".join(response.data.decode(errors="replace").split())[:SHOWN]
        if 200 <= response.status < 300:
            return Answer(Outcome.TAKEN, response.status, text)
        if 300 <= response.status < 400:  # a list is not posted to where nobody said
            text = f"it sends on to {host_of(urljoin(self.url, response.headers.get('Location', '')))}"[:SHOWN]
        lost = response.status in LOST_BEHIND_GATEWAY
        return Answer(Outcome.DOUBTFUL if lost else Outcome.REFUSED, response.status, text, _retry_after(response))


def _pool(url: str, timeout: float, connections: int) -> urllib3.PoolManager:
    """Connections to the service, through the proxy that the environment names, as other programs do."""
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "maxsize": connections,
        "timeout": urllib3.Timeout(connect=min(timeout, 10.0), read=timeout),
        "headers": {"User-Agent": "geograph-types label.py", "Accept-Encoding": "gzip"},
    }
    if login := _login(url):
        options["headers"] |= urllib3.util.make_headers(basic_auth=login)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        login = _login(proxy)
        headers = urllib3.util.make_headers(proxy_basic_auth=login) if login else None
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
    return urllib3.PoolManager(**options)


def _login(url: str) -> str | None:
    """NAME:PASSWORD of an address that holds them."""
    parts = urlsplit(url)
    return None if parts.username is None else f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def redirects() -> urllib3.Retry:
    """A GET follows where it is sent on; whoever asks tries again by itself, and says so."""
    return urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)


def read_at_most(response: urllib3.BaseHTTPResponse, limit: int) -> bytes | None:
    """All that a streamed answer holds; None, and the connection closed, where that is more than `limit` bytes."""
    told = response.headers.get("Content-Length", "")
    plain = told.isdigit() and int(told) <= limit and "Content-Encoding" not in response.headers
    data = response.read() if plain else response.read(limit + 1, decode_content=True)  # the first copies less
    if len(data) > limit:
        response.close()
        return None
    response.release_conn()
    return data


def _prefix(prefix: Any, rows: list[Any]) -> str:
    """What stands before the paths of photos. Raises ServiceError where they are no addresses by it."""
    text = prefix if isinstance(prefix, str) else ""
    for row in rows if not text.lower().startswith(ADDRESS) else ():
        path = row.get("fullpath") if isinstance(row, dict) and not row.get("embeddings") else None
        if isinstance(path, str) and path and not f"{text}{path}".lower().startswith(ADDRESS):
            raise ServiceError(f"its prefix is {shown(prefix)}, expected the address of the photos' folder")
    return text


def _seconds(value: Any, other: float | None) -> float | None:
    """`sleep` as the service gives it, a number or its digits; what is neither changes nothing."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return other
    return min(seconds, LONGEST_PACE) if seconds >= 0 else other


def _retry_after(response: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds, from a number of them or from a date."""
    value = response.headers.get("Retry-After")
    try:
        return _seconds(value, None) or _seconds(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def _quoted(data: bytes) -> str:
    text = " ".join(data[:SHOWN].decode(errors="replace").split())
    return f": {text}" if text else ""


def _reason(error: Exception) -> str:
    """One line in words; urllib3's own names the pool's object."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        return _reason(error.reason)
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return "it sent on to what is no address"
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name is not known"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "no connection (refused, or nothing listens there)"
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "no connection in time"
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "no answer in time"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection broke before its answer"
    return " ".join(str(error).split())[:SHOWN] or type(error).__name__
