"""A service that answers oddly, sends on, asks for patience or a password; a stop while waiting, a full disk."""

import email.utils
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from geograph_types.labelling.service import LONGEST_SLEEP, Outcome, Service
from tests.labelling.test_label import log_of, rows_of
from tests.support.labelling_service import LabellingService

FULL_DISK = Path("/dev/full")


def answering(status: int, body: bytes = b"", **headers: str):
    """What a service does in place of its work."""

    def answer(handler) -> bool:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return answer


def with_password(url: str) -> str:
    return url.replace("http://", "http://me:s3cret%40@")


@pytest.mark.parametrize(
    ("sleep", "pace"),
    [("3", 3), (0, 0), (None, None), ("soon", None), (-1, None), ([], None), (1e300, LONGEST_SLEEP),
     ("inf", LONGEST_SLEEP)],
)  # fmt: skip
def test_sleep_in_any_form(sleep, pace):
    with LabellingService([], sleep=sleep) as service:
        asking = Service(service.url)
        assert asking.ask().rows == [] and asking.pace == pace
        asking.stop.set()
        assert asking.ask() is None  # however long it is to wait


def test_answers_without_rows():
    with LabellingService([]) as service:
        for body, rows in ((b"{}", []), (b'{"rows":null}', []), (b'{"rows":[null,{}]}', [None, {}])):
            service.on_get = answering(200, body)
            assert Service(service.url).ask().rows == rows


def test_waits_stay_within_bounds_but_for_what_was_asked():
    service = Service("http://127.0.0.1:1/x")
    assert [service.wait_after(tries) for tries in (1, 2, 3, 5000)] == [2, 4, 8, 300]
    assert service.wait_after(1, 3600) == 3600


def test_retry_after_as_seconds_and_as_a_date():
    in_an_hour = email.utils.formatdate(time.time() + 3600, usegmt=True)
    with LabellingService([]) as service:
        for told, least, most in (("7", 7, 7), (in_an_hour, 3500, 3600), ("later", None, None)):
            service.on_post = answering(429, b"slow down", Retry_After=told)
            answer = Service(service.url).post(b"[]")
            assert (answer.outcome, answer.status, answer.text) == (Outcome.REFUSED, 429, "slow down")
            assert answer.wait is None if least is None else least <= answer.wait <= most


def test_a_password_goes_to_the_service_alone():
    """Not to where it sends on to; a list is not sent on at all."""
    with LabellingService(rows_of(2)) as service, LabellingService(rows_of(3)) as other:
        heard = []
        note = lambda handler: heard.append(handler.headers["Authorization"])  # noqa: E731
        service.on_get = lambda handler: (
            note(handler) or answering(302, Location=f"{other.url}&limit=5&key=hidden")(handler)
        )
        service.on_post = lambda handler: note(handler) or answering(301, Location=f"{other.url}&key=hidden")(handler)
        other.on_get = other.on_post = note
        asking = Service(with_password(service.url))
        assert len(asking.ask().rows) == 3
        answer = asking.post(b"[]")
    assert heard == ["Basic bWU6czNjcmV0QA==", None, "Basic bWU6czNjcmV0QA=="]
    assert answer.outcome is Outcome.REFUSED and other.posts == 0
    assert answer.text == f"it sends on to {other.address}/labeler.json.php, and lists are posted to --url only"


def test_a_password_is_in_no_file_and_no_message(model, run_label, tmp_path):
    with LabellingService(rows_of(4), sleep=0.05) as service:
        service.on_post = lambda handler: service.posts == 1 and answering(500, b"not now")(handler)
        code, said = run_label(
            service, model[1], tmp_path / "log.jsonl", "--submit", "--url", with_password(service.url)
        )
    assert code == 0 and "not now" in said and len(service.times()) == 4
    for word in ("s3cret", "czNjcmV0"):
        assert word not in said
        assert not any(word.encode() in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["me:s3cret@host/x", "http://me:s3/cret@host/x", "http://me:s3cret@host:99999/x", "http://me:s3 cret@h/x",
            "http://me:s3cret@/x", "http://me:s3cret@[::1/x", "http://me:s3cret@host/x#y", "ftp://me:s3cret@host/x"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_its_password(capsys, url):
    from label import LabelArguments

    with pytest.raises(ValueError, match="--url must be an http or https address") as error:
        LabelArguments(model="m", url=url)
    assert "s3" not in str(error.value)


def test_sigterm_while_the_service_asks_to_wait(model, run_label, tmp_path):
    with LabellingService(rows_of(4), sleep=500) as service:
        service.on_post = lambda handler: threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        start = time.monotonic()
        code, said = run_label(service, model[1], tmp_path / "log.jsonl", "--submit", "--limit", 2)
    assert code == 0 and time.monotonic() - start < 60
    assert "asks for 500 s between two lists" in said
    assert set(service.times()) == {1, 2} and len(log_of(tmp_path / "log.jsonl")) == 1


@pytest.mark.skipif(not FULL_DISK.exists(), reason="no /dev/full here")
def test_a_full_disk_is_named_and_nothing_is_lost_or_posted_twice(model, run_label, tmp_path):
    output = tmp_path / "log.jsonl"
    output.symlink_to(FULL_DISK)
    with LabellingService(rows_of(8), leases=False, sleep=0.05) as service:
        code, said = run_label(service, model[1], output, "--submit", "--limit", 2)
        assert code == 1 and f"{output}: No space left on device; make room" in said.splitlines()[-1], said
        assert len(service.times()) < 8
        output.unlink()
        code, said = run_label(service, model[1], output, "--submit", "--limit", 2, "--empty_answers", 1)
        assert code == 0, said
    assert service.times() == dict.fromkeys(range(1, 9), 1)
    assert sorted(line["photos"] for line in log_of(output) if line["outcome"] == "taken") == [2, 2, 2, 2]
