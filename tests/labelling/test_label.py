"""label.py against a real service on this machine: what is posted, and that nothing is lost or posted twice."""

import json
import os
import signal
import sys
import threading
import time
from collections import Counter

import numpy as np
import pybase64
import pytest
import torch

from tests.support import warm
from tests.support.labelling_service import LabellingService, rows_of
from tests.support.tiny_tower import make_tiny_tower


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose probabilities spread, in a folder."""
    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    torch.manual_seed(3)
    model = GeographModel(GeographConfig(thresholds=[0.3, 0.5, 0.7, 0.4, 0.6, 0.5, 0.2])).eval()
    with torch.no_grad():
        model.fc[3].weight *= 6
        model.fc[3].bias -= 2
    folder = tmp_path_factory.mktemp("label") / "model"
    save_model_repository(model, folder)
    return model, folder


def official(model, rows: list[dict], threshold: float = 0.2) -> list[tuple[int, str, float]]:
    """The official script's rule, written out: one row at a time, its own table of distances."""
    classes = ["Aerial", "Close Look", "Cross Far", "Extra", "Geograph", "Inside", "From Drone"]
    table = {str(2**i): i + 1 for i in range(21)} | {"0": 0, "": 0, "Unknown": 22}
    posted = []
    for row in rows:
        vector = torch.frombuffer(bytearray(pybase64.b64decode(row["embeddings"])), dtype=torch.float32)[None]
        bucket = table.get(str(row.get("distance", "Unknown")).strip(), 22)
        with torch.no_grad():
            scores = torch.sigmoid(model(vector, torch.tensor([bucket])).logits)[0].tolist()
        above = [(int(row["gridimage_id"]), classes[i], s) for i, s in enumerate(scores) if s > threshold]
        posted += above or [(int(row["gridimage_id"]), "None", 0.0)]
    return sorted(posted)


def command(service, folder, output, *more) -> list[str]:
    return ["label.py", *map(str, ("--model", folder, "--url", service.url, "--output", output, *more))]


@pytest.fixture
def run_label(monkeypatch, capsys):
    """label.py in this process, as a function that gives the exit status and what it said on stderr."""
    import label
    from geograph_types.cli import CommandError, said_of
    from geograph_types.labelling import journal

    monkeypatch.setattr(journal, "SETTLE", 1.0)
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]

    def run_it(service, folder, output, *more) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", command(service, folder, output, *more))
        try:
            label.main()
        except (CommandError, OSError) as error:
            return 1, f"{capsys.readouterr().err}{said_of(error)}"
        return 0, capsys.readouterr().err

    yield run_it
    for number, handler in before:
        signal.signal(number, handler)


def same(found, expected) -> bool:
    return [f[:2] for f in found] == [e[:2] for e in expected] and np.allclose(
        [f[2] for f in found], [e[2] for e in expected], rtol=0, atol=1e-5
    )


def log_of(output) -> list[dict]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def test_posts_what_the_official_script_would(model, run_label, tmp_path):
    model, folder = model
    rows = rows_of(60)
    with LabellingService(rows) as service:
        code, said = run_label(
            service, folder, tmp_path / "log.jsonl", "--submit", "--limit", 25, "--worker", 7, "--batches", 3
        )
    assert code == 0, said
    expected = official(model, rows)
    assert same(service.labels(), expected)
    assert {"None", "Aerial"} < {name for _, name, _ in expected}
    asked = {key: service.asked[0][key] for key in ("model", "embeddings", "limit", "unique_number")}
    assert asked == {"model": ["types"], "embeddings": ["1"], "limit": ["25"], "unique_number": ["7"]}
    lines = log_of(tmp_path / "log.jsonl")
    assert [line["photos"] for line in lines] == [25, 25, 10]
    assert all(line["outcome"] == "taken" and line["answer"] == "thanks for them" for line in lines)
    assert [line["list"] for line in lines] == service.lists
    assert [line["labels"] for line in lines] == [Counter(e["label"] for e in line["list"]) for line in lines]
    with LabellingService(rows) as service:  # another one, by its port
        code, said = run_label(service, folder, tmp_path / "log.jsonl", "--submit")
    assert code == 1 and "its lists belong to http://127.0.0.1" in said


def test_nothing_is_posted_or_asked_for_beyond_what_was_wanted(model, run_label, tmp_path):
    _, folder = model
    with LabellingService(rows_of(40)) as service:
        code, said = run_label(service, folder, tmp_path / "log.jsonl", "--limit", 10, "--batches", 2)
        assert code == 0, said
        assert service.posts == 0 and len(service.asked) == 2
        assert [line["outcome"] for line in log_of(tmp_path / "log.jsonl")] == ["not posted"] * 2
        assert not (tmp_path / "log.jsonl.journal").exists()


def test_refusals_are_kept_and_posted_at_the_next_start(model, run_label, tmp_path):
    model, folder = model
    rows, output = rows_of(30), tmp_path / "log.jsonl"
    with LabellingService(rows, sleep=0.05) as service:
        service.on_post = lambda handler: b'"image_id":1,' in handler.body and (handler.answer(500, b"no"), True)[1]
        code, said = run_label(service, folder, output, "--submit", "--limit", 10, "--batches", 3)
        assert code == 1 and "1 lists are kept" in said, said
        assert service.posts == 3 + 2 and sorted(service.times()) == list(range(11, 31))
        with_error = [line for line in log_of(output) if line["status"] == 500]
        assert [line["outcome"] for line in with_error] == ["kept"]
        service.on_post = lambda handler: False
        code, said = run_label(service, folder, output, "--submit", "--empty_answers", 1)
        assert code == 0, said
    assert same(service.labels(), official(model, rows))
    assert set(service.times().values()) == {1}


def test_a_lost_answer_is_settled_by_what_is_handed_out_again(model, run_label, tmp_path):
    """One list arrives and its answer is lost; another is lost itself. The service knows which, and so each is there
    once."""
    model, folder = model
    rows, output = rows_of(40), tmp_path / "log.jsonl"

    def lose(handler) -> bool:
        if service.posts > 2:
            return False
        if service.posts == 1:
            service.take(json.loads(handler.body))
        handler.connection.close()
        handler.close_connection = True
        return True

    with LabellingService(rows, leases=False, sleep=0.05) as service:
        service.on_post = lose
        code, said = run_label(service, folder, output, "--submit", "--limit", 10, "--batches", 6)
    assert code == 0, said
    assert set(service.times().values()) == {1} and len(service.times()) == 40
    assert same(service.labels(), official(model, rows))
    assert [line["outcome"] for line in log_of(output)].count("doubtful") == 2


@pytest.mark.slow
def test_killed_twice_and_each_photo_is_there_once(model, run_label, tmp_path):
    model, folder = model
    rows, output = rows_of(3000), tmp_path / "log.jsonl"
    with LabellingService(rows, leases=False, sleep=0.01) as service:
        for kill, at in ((signal.SIGKILL, 700), (signal.SIGTERM, 1600)):
            process = warm.start(*command(service, folder, output, "--submit", "--limit", 100))
            while sum(service.times().values()) < at:
                assert process.poll() is None, process.communicate()
                time.sleep(0.002)
            process.send_signal(kill)
            process.wait(timeout=60)
            assert process.returncode == (-signal.SIGKILL if kill == signal.SIGKILL else 0)
        assert len(service.times()) < 3000
        code, said = run_label(service, folder, output, "--submit", "--empty_answers", 1)
        assert code == 0, said
    assert set(service.times().values()) == {1} and len(service.times()) == 3000
    assert same(service.labels(), official(model, rows))
    assert sum(line["photos"] for line in log_of(output) if line["outcome"] == "taken") >= 2900


def test_photos_are_fetched_and_their_vectors_handed_back(model, run_label, tmp_path, shared):
    from encoder_geograph import GeographEncoder

    model, folder = model
    tower = make_tiny_tower(tmp_path / "tower")
    photo = (shared / "data" / "clip" / "photo.jpg").read_bytes()
    rows = [
        {"gridimage_id": "1", "fullpath": "a/1.jpg", "distance": "16"},
        {"gridimage_id": 2, "fullpath": "missing.jpg"},
        {"gridimage_id": 3, "fullpath": "broken.jpg"},
        {"gridimage_id": 4, "embeddings": "AAAA"},
        {"gridimage_id": 5},
        *rows_of(3, first=6),
    ]
    with LabellingService(rows, sleep=0.05) as service:
        service.photos = {"a/1.jpg": photo, "broken.jpg": b"no photo"}
        flags = ["--vision_model", tower, "--submit", "--submit_embeddings", "--batches", 1]
        code, said = run_label(service, folder, tmp_path / "log.jsonl", *flags)
    assert code == 0, said
    vector = GeographEncoder.from_pretrained(tower, device="cpu").encode_one(photo)
    row = {"gridimage_id": 1, "distance": "16", "embeddings": pybase64.b64encode(vector.tobytes())}
    failed = [(i, "Failed", -1) for i in (2, 3, 4, 5)]
    assert same(service.labels(), sorted([*official(model, [row, *rows[5:]]), *failed]))
    (vectors,) = [posted for posted in service.lists if "label" not in posted[0]]
    assert [(entry["image_id"], entry["type"]) for entry in vectors] == [(1, "image")]
    handed_back = np.frombuffer(pybase64.b64decode(vectors[0]["embeddings"]), "<f4")
    np.testing.assert_allclose(handed_back, vector, atol=1e-4)


@pytest.mark.parametrize("limit", [30, 8])
def test_where_no_photo_at_all_is_there_the_prefix_is_wrong(model, run_label, tmp_path, limit):
    """So many in a row are a fault of the service's: what is known of them is posted, never of the list that tells."""
    rows = [{"gridimage_id": i, "fullpath": f"{i}.jpg"} for i in range(1, 25)] + rows_of(6, first=25)
    tower = make_tiny_tower(tmp_path / "tower")
    with LabellingService(rows) as service:
        flags = ["--vision_model", tower, "--submit", "--limit", limit]
        code, said = run_label(service, model[1], tmp_path / "log.jsonl", *flags)
    assert code == 1
    assert "none of the last 24 photos could be had, such as http://127.0.0.1" in said
    assert ".jpg: the server answered 404; the service's prefix seems to be wrong: nothing is posted of this" in said
    assert [len(posted) for posted in service.lists] == ([] if limit == 30 else [8, 8])


def test_odd_answers_are_named_and_stop_nothing(model, run_label, tmp_path):
    """Ends by SIGTERM, while it waits as long as the last answer asks for."""
    model, folder = model
    rows = rows_of(6)
    odd = [
        {"rows": {"1": 2}, "sleep": "0.01"},
        [1],
        {"rows": None},
        {"rows": [{"gridimage_id": 9, "fullpath": "x.jpg"}], "prefix": 5},
        {"rows": [*rows[:3], {"embeddings": "x"}, None, 5], "sleep": "soon"},
        {"rows": rows[3:], "sleep": 1e300},
    ]

    def answer(handler) -> bool:
        place = len(service.asked) - 1
        handler.answer(200, json.dumps(odd[place]).encode())
        if place == len(odd) - 1:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return True

    with LabellingService(rows) as service:
        service.on_get = answer
        code, said = run_label(service, folder, tmp_path / "log.jsonl", "--submit")
    assert code == 0, said
    for words in (
        "its rows are a dict, expected a list", "its answer is a list, expected an object", "no photos",
        "its prefix is 5, expected the address", "it wants to be asked again in 1,440 minutes",
    ):  # fmt: skip
        assert words in said
    assert same(service.labels(), official(model, rows)) and set(service.times().values()) == {1}


def send(handler, status: int, **headers: str) -> bool:
    handler.send_response(status)
    for name, value in (headers | {"Content-Length": "0"}).items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    return True


def test_a_password_is_sent_and_never_written_and_nothing_is_posted_elsewhere(model, run_label, tmp_path):
    _, folder = model
    given = set()
    with LabellingService(rows_of(3)) as other, LabellingService(rows_of(3), sleep=0.01) as service:

        def get(handler) -> bool:
            given.add(handler.headers["Authorization"])
            return len(service.asked) == 1 and send(handler, 429, Retry_After="3")

        def post(handler) -> bool:
            given.add(handler.headers["Authorization"])
            return send(handler, 302, Location=f"{other.address}/x?key=hidden")

        service.on_get, service.on_post = get, post
        service.url = service.url.replace("//", "//me:s%65cret@")
        code, said = run_label(service, folder, tmp_path / "log.jsonl", "--submit", "--batches", 1)
    assert code == 1 and given == {f"Basic {pybase64.b64encode_as_string(b'me:secret')}"}
    assert "429 Too Many Requests; asking again in 3 s" in said
    assert f"302 it sends on to {other.address}/x)" in said and not other.posts and not other.asked
    written = said.encode() + b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert not [word for word in (b"secret", b"s%65cret", b"hidden") if word in written]


def test_through_the_proxy_that_the_environment_names(model, run_label, tmp_path, monkeypatch):
    _, folder = model
    given = set()
    with LabellingService(rows_of(3), sleep=0.01) as proxy:

        def look(handler) -> bool:
            given.add((handler.path.partition("?")[0], handler.headers["Proxy-Authorization"]))
            return False

        proxy.on_get = proxy.on_post = look
        monkeypatch.setenv("http_proxy", proxy.address.replace("http://", "me:secret@"))
        monkeypatch.setenv("no_proxy", "")
        proxy.url = "http://nowhere.invalid/labeler.json.php?model=types"
        code, said = run_label(proxy, folder, tmp_path / "log.jsonl", "--submit", "--batches", 1)
    assert code == 0, said
    login = f"Basic {pybase64.b64encode_as_string(b'me:secret')}"
    assert given == {("http://nowhere.invalid/labeler.json.php", login)}
    assert set(proxy.times().values()) == {1} and len(proxy.times()) == 3 and "secret" not in said


@pytest.mark.parametrize(
    "url",
    ["htp://me:secret@host/x", "http://me:secret@a b/x", "http://me:secret@h:port/x", "http://me:secret@host/x?a=b#c"],
)
def test_what_is_no_address_is_wrong_usage(monkeypatch, capsys, url):
    import label

    monkeypatch.setattr(sys, "argv", ["label.py", "--model", "m", "--url", url])
    with pytest.raises(SystemExit) as end:
        label.main()
    said = capsys.readouterr().err
    assert end.value.code == 2 and "--url must be an http or https address" in said and "secret" not in said


def test_a_full_disk_stops_and_what_was_taken_is_known(model, run_label, tmp_path):
    _, folder = model
    output = tmp_path / "log.jsonl"
    output.symlink_to("/dev/full")
    with LabellingService(rows_of(4), leases=False, sleep=0.01) as service:
        code, said = run_label(service, folder, output, "--submit", "--limit", 2)
        assert code == 1 and f"{output}: No space left on device; make room" in said
        output.unlink()
        code, said = run_label(service, folder, output, "--submit", "--empty_answers", 1)
    assert code == 0, said
    assert set(service.times().values()) == {1} and len(service.times()) == 4
    assert [(line["photos"], line["outcome"]) for line in log_of(output)] == [(2, "taken"), (2, "taken")]


def test_errors_are_one_line(model, run_label, tmp_path):
    _, folder = model
    with LabellingService(rows_of(1)) as service:
        service.on_get = lambda handler: (handler.answer(403, b"who are you?"), True)[1]
        code, said = run_label(service, folder, tmp_path / "log.jsonl", "--submit")
    assert code == 1
    assert "it answered 403 Forbidden: who are you?" in said.splitlines()[-1]
    assert "Traceback" not in said
