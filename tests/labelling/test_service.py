"""Waiting, what goes to which address, and a list that stays here after all."""

import threading
import time
from email.utils import formatdate

import pytest

from geograph_types.labelling.journal import LABELS
from geograph_types.labelling.posting import Posting
from geograph_types.labelling.service import LONGEST_PACE, Outcome, Service, fingerprint
from tests.labelling.test_label import rows_of, send
from tests.support.labelling_service import LabellingService


def test_waits_double_within_bounds_and_are_as_long_as_was_asked():
    service = Service("http://127.0.0.1:1/x")
    assert [service.wait_after(tries) for tries in (1, 2, 3, 9, 5000)] == [2, 4, 8, 300, 300]
    assert service.wait_after(1, 3600) == 3600


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("7", 7, 7), (3600, 3500, 3600), (-3600, 0, 0), (1e11, LONGEST_PACE, LONGEST_PACE), ("later", None, None)],
)
def test_retry_after_as_seconds_and_as_a_date(told, least, most):
    if not isinstance(told, str):
        told = formatdate(time.time() + told, usegmt=True)
    with LabellingService([]) as service:
        service.on_post = lambda handler: send(handler, 429, Retry_After=told)
        answer = Service(service.url).post(b"[]")
    assert (answer.outcome, answer.status) == (Outcome.REFUSED, 429)
    assert answer.wait is None if least is None else least <= answer.wait <= most


def test_a_password_does_not_go_where_the_service_sends_on_to():
    with LabellingService(rows_of(2)) as service, LabellingService(rows_of(3)) as other:
        heard = []

        def note(handler) -> None:
            heard.append(handler.headers["Authorization"])

        other.on_get = note
        service.on_get = lambda handler: note(handler) or send(handler, 302, Location=f"{other.url}&limit=5")
        assert len(Service(service.url.replace("//", "//me:secret@")).ask().rows) == 3
    assert heard == ["Basic bWU6c2VjcmV0", None]


def test_a_new_password_makes_no_other_service():
    address = "http://{}host:81/x?model=types"
    assert (
        fingerprint(address.format("me:old@"))
        == fingerprint(address.format("me:new@"))
        == fingerprint(address.format(""))
    )
    assert fingerprint(address.format("")) != fingerprint("http://host:81/x?model=other")


def test_a_list_that_does_not_leave_as_the_disk_is_full_is_kept_and_not_doubtful(tmp_path):
    output, both = tmp_path / "log.jsonl", threading.Event()
    output.symlink_to("/dev/full")
    with LabellingService(rows_of(2)) as service:
        service.on_post = lambda handler: not both.wait(60)
        with Posting(Service(service.url), output, submit=True) as posting:
            for image_id in (1, 2):
                posting.put(LABELS, b'[{"image_id":%d,"label":"None","score":0.0}]' % image_id, [image_id])
            both.set()
            with pytest.raises(OSError, match="No space left"):
                posting.wait()
            assert posting.journal.counts() == {"taken": 1, "ready": 1}
    assert service.posts == 1
