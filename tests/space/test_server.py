"""The private interfaces of Gradio that the server rests on."""

import asyncio
import inspect
from types import SimpleNamespace

import gradio as gr
import pytest

from geograph_types.space import server


@pytest.fixture
def page():
    with gr.Blocks() as page:
        name = gr.Textbox()
        name.change(lambda said: said, name, name, api_name="echo")
        page.queue(max_size=2)
    return page


def test_gradios_queue_says_when_it_is_full(page):
    """server.launch puts our own sentence where the queue says so."""
    push = page._queue.push
    assert inspect.iscoroutinefunction(push)
    assert '"queue_full"' in inspect.getsource(push), "the status that server.launch looks for"


def test_nothing_stays_of_a_call_that_is_answered(page, monkeypatch):
    """Gradio puts a call's session, its messages and its uploads where `forget_answered` takes them away."""
    queue = page._queue
    body = gr.data_classes.PredictBodyInternal(data=["x"], fn_index=0, session_hash="visitor")
    page.upload_file_set.add("/uploads/photo.jpg")
    done, event, _ = asyncio.run(queue.push(body, SimpleNamespace(), None))
    assert done
    server.forget_answered(page)
    assert queue.pending_event_ids_session["visitor"] == {event}, "a question that waits is kept"
    assert list(queue.pending_messages_per_session) == ["visitor"]
    assert page.upload_file_set in page.temp_file_sets and not page.upload_file_set

    del queue.event_ids_to_events[event]  # answered, but nobody came for it yet
    server.forget_answered(page)
    assert list(queue.pending_event_ids_session) == ["visitor"]
    monkeypatch.setattr(server, "UNCOLLECTED", 0)
    server.forget_answered(page)
    assert not queue.pending_event_ids_session and not queue.pending_messages_per_session

    asyncio.run(queue.push(body, SimpleNamespace(), None))  # a visitor who comes again begins anew
    queue.pending_event_ids_session["visitor"].clear()
    server.forget_answered(page)
    assert not queue.pending_event_ids_session and not queue.pending_messages_per_session
