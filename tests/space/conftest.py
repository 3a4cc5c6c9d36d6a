"""One Space in a process of its own, and one browser, for all these tests."""

import os
import shutil
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from gradio_client import Client
from PIL import Image

from tests.support.tiny_tower import make_tiny_tower


def photo_with_gps(path, north: tuple, west: tuple, letter: str = "W"):
    image = Image.effect_noise((300, 200), 80).convert("RGB")
    exif = image.getexif()
    exif.get_ifd(0x8825).update({1: "N", 2: north, 3: letter, 4: west})
    image.save(path, exif=exif)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    import torch

    from configuration_geograph import GeographConfig
    from geograph_types.hub.model_folder import save_model_repository
    from modeling_geograph import GeographModel

    folder = tmp_path_factory.mktemp("space")
    torch.manual_seed(0)
    save_model_repository(GeographModel(GeographConfig(synthetic=True)), folder / "model")
    make_tiny_tower(folder / "tower")
    photo_with_gps(folder / "in_london.jpg", (51, 30, 28.34), (0, 7, 40.0))
    photo_with_gps(folder / "in_paris.jpg", (48, 51, 24.0), (2, 21, 8.0), "E")
    Image.effect_noise((300, 200), 80).convert("RGB").save(folder / "nowhere.jpg")
    (folder / "no_photo.jpg").write_bytes(b"no photo at all")
    (folder / "empty.jpg").touch()
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (folder / "large.jpg").write_bytes(b"\xff\xd8\xff" + bytes(21 * 1024**2))
    return folder


@pytest.fixture(scope="session")
def space(folder, root):
    """A running Space: `address`, `log` (a file), `temporary` (where its uploads may lie), `process`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary, log = folder / "temporary", folder / "log.txt"
    temporary.mkdir()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(root / "app.py"), "--model", str(folder / "model"),
             "--vision_model", str(folder / "tower"), "--port", str(port)],
            stdout=output, stderr=subprocess.STDOUT, cwd=folder,
            env=os.environ | {"GEOGRAPH_SPACE_UPLOADS": str(temporary), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    for _ in range(480):
        if process.poll() is not None:
            pytest.fail(f"app.py ended:\n{log.read_text()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.25)
    yield SimpleNamespace(address=f"http://127.0.0.1:{port}", log=log, temporary=temporary, process=process)
    if process.poll() is None:
        process.terminate()
        process.wait(timeout=30)
    assert "Traceback" not in log.read_text(), "a visitor's mistake is no error of the server's"


@pytest.fixture(scope="session")
def client(space):
    return Client(space.address, verbose=False)


@pytest.fixture(scope="session")
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
