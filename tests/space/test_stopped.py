"""The Space's end: nothing of what visitors sent is left, and its log is silent."""


def test_sigterm_leaves_no_upload(space, client, folder):
    from gradio_client import handle_file

    client.predict(handle_file(folder / "in_london.jpg"), api_name="/classify")
    assert list(space.temporary.rglob("in_london.jpg"))
    space.process.terminate()
    assert space.process.wait(timeout=30) == 0
    assert not list(space.temporary.rglob("*.jpg"))
    log = space.log.read_text()
    assert "Traceback" not in log and str(space.temporary) not in log
