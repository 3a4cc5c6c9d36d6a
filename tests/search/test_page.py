"""The page in a browser: yes and no become the CSV that prepare_dataset.py takes."""

import shutil
import time

import pytest

from geograph_types.dataset.corrections import read_corrections
from geograph_types.search.finding import Found
from geograph_types.search.writing import write_page
from names_geograph import TAGS


@pytest.fixture
def browser(tmp_path):
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path / "downloads")})
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def test_answers_become_corrections(browser, tmp_path):
    found = [
        Found(11, 0.9, ("Geograph",), "From Drone", 'A <b>bridge</b> & "more"'),
        Found(12, 0.8, ("Aerial",), "From Drone", None),
        Found(13, 0.7, (), None, "no tag in question"),
        Found(14, 0.6, (), None, "never answered"),
    ]
    write_page(found, tmp_path / "found.html", "Photos like 3 given ones", "Likeness")
    browser.get((tmp_path / "found.html").as_uri())

    def click(image_id: int, answer: str) -> None:
        browser.find_element("css selector", f'tr[data-id="{image_id}"] button[value={answer}]').click()

    click(11, "no")
    click(11, "yes")  # another answer takes its place
    click(12, "no")
    click(13, "yes")  # no tag is chosen yet
    assert browser.find_element("id", "count").text == "choose the tag in question first"
    browser.find_element("css selector", "#tag option:nth-of-type(9)").click()
    click(13, "yes")
    assert browser.find_element("id", "count").text == "2 yes, 1 no"
    browser.refresh()  # what was said stays
    assert browser.find_element("id", "count").text == "2 yes, 1 no"
    assert (
        browser.find_element("css selector", 'tr[data-id="11"] button[value=yes]').get_attribute("aria-pressed")
        == "true"
    )
    browser.find_element("id", "download").click()
    file = tmp_path / "downloads" / "corrections.csv"
    for _ in range(100):
        if file.is_file():
            break
        time.sleep(0.1)
    assert file.read_text() == f"gridimage_id,tag,answer\n11,From Drone,yes\n12,From Drone,no\n13,{TAGS[7]},yes\n"
    drone = TAGS.index("From Drone")
    assert read_corrections([file]).by_photo == {11: {drone: True}, 12: {drone: False}, 13: {7: True}}
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
