"""The one private interface of Gradio that the server rests on."""

import inspect

import gradio as gr


def test_gradios_queue_says_when_it_is_full():
    """server.launch puts our own sentence where the queue says so."""
    with gr.Blocks() as page:
        page.queue(max_size=1)
    push = page._queue.push
    assert inspect.iscoroutinefunction(push)
    assert '"queue_full"' in inspect.getsource(push), "the status that server.launch looks for"
