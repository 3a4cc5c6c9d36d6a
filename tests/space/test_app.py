"""The Space in a process of its own: its API through gradio_client, and the page in headless Chromium."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from names_geograph import CLASSES
from tests.support.tiny_tower import make_tiny_tower

DESKTOP, PHONE = (1280, 1400), (390, 1400)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    folder = tmp_path_factory.mktemp("space")
    torch.manual_seed(0)
    save_model_repository(GeographModel(GeographConfig(synthetic=True)), folder / "model")
    make_tiny_tower(folder / "tower")
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    exif = image.getexif()
    exif.get_ifd(0x8825).update({1: "N", 2: (51, 30, 28.34), 3: "W", 4: (0, 7, 40.0)})
    image.save(folder / "in_london.jpg", exif=exif)
    image.save(folder / "nowhere.jpg")
    (folder / "no_photo.jpg").write_bytes(b"no photo at all")
    return folder


@pytest.fixture(scope="module")
def address(folder, root):
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, str(root / "app.py"), "--model", str(folder / "model"),
         "--vision_model", str(folder / "tower"), "--port", str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False"},
    )  # fmt: skip
    for _ in range(480):
        if process.poll() is not None:
            pytest.fail(f"app.py ended:\n{process.stdout.read()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.25)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def client(address):
    return Client(address, verbose=False)


def a_row(**more) -> str:
    vector = np.random.default_rng(0).standard_normal(512).astype("<f4")
    return json.dumps({"embeddings": base64.b64encode(vector.tobytes()).decode(), "distance": "16"} | more)


def test_api_is_named_and_described(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/classify", "/classify_embedding"}
    names = [parameter["parameter_name"] for parameter in endpoints["/classify"]["parameters"]]
    assert names == ["photo", "distance", "subject", "viewpoint"]


def test_api_answers_as_the_pipeline_does(client, folder):
    from transformers import pipeline

    classify = pipeline(
        "geograph-types", model=str(folder / "model"), trust_remote_code=True, vision_model=str(folder / "tower")
    )
    photo = folder / "in_london.jpg"
    for place in ({"distance": "16"}, {"subject": "TQ 3003 8048", "viewpoint": "TQ 3111 8062"}, {}):
        found = client.predict(
            handle_file(photo), *(place.get(k, "") for k in ("distance", "subject", "viewpoint")), api_name="/classify"
        )
        expected = classify(str(photo), **place)
        assert found["types"] == expected["types"]
        assert found["cross_grid"] == expected["cross_grid"]
        for name, score in expected["scores"].items():
            assert found["scores"][name] == pytest.approx(score, abs=0.02)  # bf16, one by one or not
    row = a_row(gridimage_id=7706259)
    found = client.predict(row, api_name="/classify_embedding")
    expected = classify(json.loads(row))
    assert found | {"scores": None} == expected | {"scores": None}
    assert found["scores"] == pytest.approx(expected["scores"], abs=1e-6)
    assert list(found["scores"].values()) == sorted(found["scores"].values(), reverse=True)
    assert set(found["scores"]) == set(CLASSES)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nonsense", "not JSON"),
        ('{"embeddings": "AAAA"}', "expected 2048"),
        (a_row(distance="3000 miles"), "distance"),
        (a_row(subject="ZZ 99"), "subject"),
        ("x" * 30_000, "characters"),
    ],
)
def test_mistakes_are_messages(client, row, message):
    with pytest.raises(Exception, match=message):
        client.predict(row, api_name="/classify_embedding")


def test_bad_photos_are_messages(client, folder):
    with pytest.raises(Exception, match=r"photo|image"):
        client.predict(handle_file(folder / "no_photo.jpg"), "", "", "", api_name="/classify")


def test_addresses_are_not_fetched(client):
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
    url = f"http://127.0.0.1:{server.server_port}/secret.jpg"
    try:
        with pytest.raises(Exception, match=r"[Aa]ddress|upload|error"):
            client.predict(
                {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}, "", "", "", api_name="/classify"
            )
    finally:
        server.shutdown()
    assert asked == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driver
    driver.quit()


def wait_for(browser, condition, what: str):
    from selenium.common.exceptions import WebDriverException

    for _ in range(240):
        try:
            if found := condition():
                return found
        except WebDriverException:
            pass
        time.sleep(0.25)
    pytest.fail(f"no {what} after a minute")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page(browser, address, folder, size):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    def one(selector):
        return browser.find_element(By.CSS_SELECTOR, selector)

    def text(selector):
        return wait_for(browser, lambda: one(selector).text, selector)

    browser.set_window_size(*size)
    if size == PHONE:  # a window has a least width, a device's screen has none
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": True},
        )
    browser.get(address)
    wait_for(browser, lambda: one("#ask-photo"), "page")
    assert "synthetic" in browser.page_source

    # A photo with a GPS tag fills the viewpoint in.
    wait_for(browser, lambda: one("#photo input[type=file]"), "upload").send_keys(str(folder / "in_london.jpg"))
    viewpoint = wait_for(browser, lambda: one("#viewpoint textarea, #viewpoint input"), "viewpoint")
    assert wait_for(browser, lambda: viewpoint.get_attribute("value"), "viewpoint").startswith("TQ 30")
    one("#ask-photo").click()
    wait_for(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, "#answer .gt-bars li")) == 7, "bars")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#answer .gt-mark")) == 7
    assert "coordinates" in text("#answer .gt-why")

    # The slider shows the answer at another distance.
    before = text("#answer")
    assert "not known" in before
    slider = wait_for(browser, lambda: one("#slider input[type=range]"), "slider")
    slider.send_keys(Keys.HOME)
    for _ in range(3):
        slider.send_keys(Keys.ARROW_RIGHT)
    wait_for(browser, lambda: "not known" not in one("#answer").text, "answer at another distance")
    assert one("#plot svg").get_attribute("aria-label").startswith("Probability of each class")

    # Coordinates decide.
    subject = one("#subject textarea, #subject input")
    subject.send_keys("TQ 3503 8048")
    one("#ask-photo").click()
    wait_for(browser, lambda: "the subject stands in TQ3580" in one("#answer").text, "reason")

    # A bad grid reference is a message in the page.
    subject.clear()
    subject.send_keys("QQ nonsense")
    one("#ask-photo").click()
    message = wait_for(browser, lambda: one(".toast-body, [data-testid=toast-body]").text, "message")
    assert "subject" in message

    one(".toast-close").click()
    wait_for(browser, lambda: not browser.find_elements(By.CSS_SELECTOR, ".toast-body"), "closed message")

    # What one photo's GPS tag filled in does not stay for the next photo.
    one("#photo button[aria-label='Clear'], #photo button[aria-label='Remove Image']").click()
    wait_for(
        browser, lambda: not one("#viewpoint textarea, #viewpoint input").get_attribute("value"), "empty viewpoint"
    )
    wait_for(browser, lambda: one("#photo input[type=file]"), "upload").send_keys(str(folder / "nowhere.jpg"))
    wait_for(browser, lambda: one("#photo img"), "second photo")
    subject.send_keys(Keys.CONTROL, "a")
    subject.send_keys(Keys.BACKSPACE)
    one("#ask-photo").click()
    wait_for(browser, lambda: "long view" in one("#answer .gt-why").text, "answer without coordinates")

    wide = browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth + 1")
    assert not wide, "the page is wider than the screen"
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, errors


def test_many_photos_in_the_page(browser, address, folder):
    from selenium.webdriver.common.by import By

    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.set_window_size(*DESKTOP)
    browser.get(address)

    def one(selector):
        return browser.find_element(By.CSS_SELECTOR, selector)

    accordion = wait_for(browser, lambda: one("button.label-wrap"), "accordion")
    accordion.click()
    files = wait_for(browser, lambda: one("#files input[type=file]"), "files")
    files.send_keys(f"{folder / 'in_london.jpg'}\n{folder / 'no_photo.jpg'}")
    wait_for(browser, lambda: "no_photo" in one("#files").text, "both uploads")
    one("#ask-many").click()
    rows = wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#many tbody tr"), "table")
    assert len(rows) == 2
    assert rows[0].find_element(By.TAG_NAME, "img").get_attribute("src").startswith("data:image/jpeg")
    link = one("#many a[download]").get_attribute("href")
    csv = base64.b64decode(link.split(",", 1)[1]).decode().splitlines()
    assert csv[0].startswith("path,types,Aerial")
    assert csv[1].startswith("in_london.jpg,")
    assert "no_photo.jpg,," in csv[2]
