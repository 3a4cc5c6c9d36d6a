"""What programs call: the same answers as the pipeline's, defaults, mistakes as sentences, the card's own examples."""

import base64
import json
import re
import shutil
import stat
import subprocess
import sys

import httpx
import numpy as np
import pytest
from gradio_client import handle_file

from geograph_types.hub.names import names_on_the_hub
from geograph_types.space.answering import Answering
from geograph_types.space.fields import Upload
from geograph_types.space.folder import space_values
from geograph_types.space.many import answers as many_answers
from geograph_types.space.model import SpaceModel
from names_geograph import CLASSES
from tests.support.commands import in_process


def a_row(**more) -> dict:
    vector = np.random.default_rng(0).standard_normal(512).astype("<f4")
    return {"embeddings": base64.b64encode(vector.tobytes()).decode(), "distance": "16"} | more


@pytest.fixture(scope="module")
def classify(folder):
    from transformers import pipeline

    return pipeline(
        "geograph-types", model=str(folder / "model"), trust_remote_code=True, vision_model=str(folder / "tower")
    )


def same(found: dict, expected: dict, tolerance: float) -> None:
    assert found["types"] == expected["types"]
    assert found["cross_grid"] == expected["cross_grid"]
    assert found["scores"] == pytest.approx(expected["scores"], abs=tolerance)


def test_calls_are_named_and_have_defaults(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/classify", "/classify_embedding"}
    parameters = endpoints["/classify"]["parameters"]
    assert [p["parameter_name"] for p in parameters] == ["photo", "distance", "subject", "viewpoint"]
    assert [p["parameter_has_default"] for p in parameters] == [False, True, True, True]
    assert "Hello" not in json.dumps(endpoints) and "githubusercontent" not in json.dumps(endpoints)


def test_answers_as_the_pipeline_does(client, folder, classify):
    london = str(folder / "in_london.jpg")
    found = client.predict(handle_file(london), "16", api_name="/classify")
    same(found, classify(london, distance=16), 0.02)  # bf16, one by one or not
    places = {"subject": "TQ 3003 8048", "viewpoint": "TQ 3111 8062"}
    found = client.predict(handle_file(london), **places, api_name="/classify")
    same(found, classify(london, **places), 0.02)
    assert found["cross_grid"] == "geometry"
    for row in (a_row(gridimage_id=7706259), {"embedding": [0.5] * 512, "distance": "16"}):
        for sent in (row, json.dumps(row)):
            same(client.predict(sent, api_name="/classify_embedding"), classify(row), 1e-6)
    assert set(found["scores"]) == set(CLASSES)


def test_a_blank_viewpoint_is_the_gps_tag(client, folder):
    far = {"subject": "TQ 3503 8048"}
    found = client.predict(handle_file(folder / "in_london.jpg"), **far, api_name="/classify")
    assert found["cross_grid"] == "geometry"
    found = client.predict(handle_file(folder / "in_london.jpg"), **far, viewpoint="unknown", api_name="/classify")
    assert found["cross_grid"] != "geometry"
    found = client.predict(handle_file(folder / "in_paris.jpg"), **far, api_name="/classify")
    assert found["cross_grid"] != "geometry" and "neither Britain nor Ireland" in found["note"]


def test_page_api_many_and_files_answer_alike(client, folder, tmp_path):
    """The same photo, its viewpoint from its GPS tag, by every way to an answer."""
    photo, subject, tower = folder / "in_london.jpg", "TQ 3503 8048", folder / "tower"
    api = client.predict(handle_file(photo), subject=subject, api_name="/classify")
    assert api["cross_grid"] == "geometry"
    answering = Answering(SpaceModel(str(folder / "model"), str(tower)), limit=10**7)
    upload = Upload(str(photo), photo.name)
    shown = answering.for_page('{"question": 1, "mode": "photo"}', upload, "", subject, "", "")
    chips = re.findall(r"<li>(.*?)</li>", shown["types"].split("</ul>")[0])
    assert chips == api["types"] and "TQ3580" in shown["types"] and shown["viewpoint"] == "TQ 30028 80432"
    ((many, _),) = many_answers(answering.space, [upload], subject, 10**7)
    same(many, api, 0.02)
    (tmp_path / "photos.csv").write_text(f"path,subject\n{photo},{subject}\n")
    (tmp_path / "photos").mkdir()
    shutil.copy(photo, tmp_path / "photos")
    for i, said in enumerate(([tmp_path / "photos.csv"], [tmp_path / "photos", "--subject", subject])):
        flags = ["--model", folder / "model", "--vision_model", tower, "--output", tmp_path / f"{i}.jsonl"]
        done = in_process("predict", "--input", *said, *flags)
        assert done.returncode == 0, done.stderr
        (row,) = (tmp_path / f"{i}.jsonl").read_text().splitlines()
        same(json.loads(row), api, 0.02)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nonsense", "not JSON"),
        ('{"embeddings": "AAAA"}', "expected 2048"),
        (a_row(distance="3000 miles"), "distance"),
        (a_row(subject="ZZ 99"), "no square ZZ"),
        ("x" * 50_000, "characters"),
        ({}, "no embedding"),
        (None, "Paste a row"),
    ],
)
def test_mistakes_in_rows_are_sentences(client, row, message):
    with pytest.raises(Exception, match=message) as caught:
        client.predict(row, api_name="/classify_embedding")
    assert str(caught.value).startswith("row:")


@pytest.mark.parametrize("name", ["no_photo.jpg", "empty.jpg", "phone.heic", "large.jpg"])
def test_what_is_no_photo_is_a_sentence(client, folder, space, name):
    with pytest.raises(Exception, match=f"{name}|20 MB") as caught:
        client.predict(handle_file(folder / name), api_name="/classify")
    said = str(caught.value)
    assert str(space.temporary) not in said and "gradio" not in said.lower() and "PIL" not in said


def test_calls_that_leave_things_out_or_go_wrong(space):
    def call(name, body, kind="run"):
        return httpx.post(f"{space.address}/gradio_api/{kind}/{name}", content=body, timeout=60)

    for body in ('{"data": [null]}', '{"data": []}', "{}"):
        answer = call("classify", body)
        assert answer.status_code == 422 and "Choose a photo first" in answer.json()["error"]
    assert "not JSON" in call("classify", "{").json()["error"]
    assert "at most 4 values" in call("classify", json.dumps({"data": [None] * 9})).json()["error"]
    assert "/classify" in call("nothing", "{}").json()["error"]
    stolen = {"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]}
    answer = call("classify", json.dumps(stolen))
    assert answer.status_code == 422 and "passwd" not in answer.text
    row = call("classify_embedding", json.dumps({"data": [a_row()]}))
    assert row.status_code == 200 and row.json()["data"][0]["types"]


def test_addresses_are_not_fetched_but_the_own_examples_are_there(space, client):
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    asked = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for name in ("secret.jpg", "examples/secret.jpg"):
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            with pytest.raises(Exception, match=r"[Aa]ddress|upload"):
                client.predict(
                    {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}, "", "", "", api_name="/classify"
                )
    finally:
        server.shutdown()
    assert asked == []
    # What the page's documentation shows runs as it stands there.
    for name, endpoint in httpx.get(f"{space.address}/gradio_api/info").json()["named_endpoints"].items():
        snippet = endpoint["code_snippets"]["python"]
        said = {}
        exec(snippet.replace("print(result)", ""), said)  # noqa: S102
        assert said["result"]["types"], name


def test_the_cards_examples_run_under_the_spaces_own_name(space, folder, root, tmp_path):
    from geograph_types.hub.cards import fill_card

    card = fill_card(root / "geograph_types/space/space_card.md", space_values(str(folder / "model"), None))
    card = names_on_the_hub(card, "Jo/My_Types", "space")
    assert "USER" not in card and 'Client("Jo/My_Types")' in card and "https://jo-my-types.hf.space" in card
    assert "preload_from_hub:\n  - openai/clip-vit-base-patch32 config.json" in card
    python, shell = re.findall(r"```(?:py|sh)\n(.*?)```", card, re.DOTALL)
    shutil.copy(folder / "in_london.jpg", tmp_path / "photo.jpg")
    for command, text in (
        ([sys.executable, "-c"], python.replace("Jo/My_Types", space.address)),
        (["bash", "-c"], shell.replace("https://jo-my-types.hf.space", space.address)),
    ):
        done = subprocess.run([*command, text], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and any(name in done.stdout for name in CLASSES), done.stdout + done.stderr


def test_uploads_are_for_this_user_alone(space, client, folder):
    client.predict(handle_file(folder / "in_london.jpg"), api_name="/classify")
    folders = list(space.temporary.glob("geograph-space-*"))
    assert folders and all(stat.S_IMODE(path.stat().st_mode) == 0o700 for path in folders)
    assert list(space.temporary.rglob("in_london.jpg"))
