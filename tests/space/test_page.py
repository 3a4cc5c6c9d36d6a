"""The page in headless Chromium: the answer belongs to the photo shown, mistakes are said at their field, axe-core."""

import base64
import csv
import io
import json
import sys
import time
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
AXE = Path(sys.prefix) / "axe" / "node_modules" / "axe-core" / "axe.min.js"
# At each frame: does the answer name the photo that is shown?
WATCH = """
window.wrong = [];
(function look() {
  const answer = document.querySelector('#types .gt-of');
  const said = answer?.offsetParent ? answer.textContent.replace('for ', '') : '';
  const shown = document.querySelector('#photo img')?.src;
  if (said && document.querySelector('#photo')?.offsetParent && !(shown && decodeURI(shown).endsWith(said)))
    window.wrong.push([said, shown]);
  requestAnimationFrame(look);
})();
document.head.insertAdjacentHTML('beforeend', '<style>* { transition: none !important; }</style>');
"""
CLEAR = "#photo button[aria-label='Clear'], #photo button[aria-label='Remove Image']"


class Page:
    """What a visitor does and sees."""

    def __init__(self, browser, address: str, folder: Path):
        self.browser, self.folder = browser, folder
        self.size("desktop")
        browser.get(address)
        self.wait(lambda: self.one("#show"), "page")
        browser.execute_script(WATCH)

    def size(self, name: str) -> None:
        width, height = WIDTHS[name]
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)

    def one(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition, what: str):
        for _ in range(250):
            try:
                if found := condition():
                    return found
            except WebDriverException:
                pass
            time.sleep(0.1)
        return pytest.fail(f"no {what} in time; the answer says {self.one('#types').text!r}")

    def field(self, name: str):
        return self.one(f"#{name} textarea, #{name} input")

    def places(self) -> list[str]:
        return [self.field(name).get_attribute("value") for name in ("distance", "subject", "viewpoint")]

    def drop(self, name: str) -> None:
        if buttons := self.all(CLEAR):
            buttons[0].click()
        self.wait(lambda: self.one("#photo input[type=file]"), "upload").send_keys(str(self.folder / name))

    def answer_with(self, text: str) -> str:
        return self.wait(lambda: self.all("#types .gt-types") and text in (t := self.one("#types").text) and t, text)

    def error_at(self, name: str) -> str:
        return self.wait(lambda: self.one(f"#{name}-error[role=alert]").text, f"error at {name}")

    def is_focused(self, name: str) -> bool:
        return self.browser.execute_script("return document.activeElement.closest(arguments[0]) !== null", f"#{name}")

    def accessible(self, state: str) -> None:
        """axe-core at both widths, light and dark; no part of the page wider than the screen."""
        for width in WIDTHS:
            self.size(width)
            script = "return document.documentElement.scrollWidth > window.innerWidth + 1"
            assert not self.browser.execute_script(script), f"{state}: wider than the {width}'s screen"
            if not AXE.is_file():
                continue
            for theme in ("light", "dark"):
                self.browser.execute_script("document.body.classList.toggle('dark', arguments[0])", theme == "dark")
                if not self.browser.execute_script("return window.axe !== undefined"):
                    self.browser.execute_script(AXE.read_text(encoding="utf-8"))
                found = self.browser.execute_async_script(
                    "const done = arguments[arguments.length - 1];"
                    "axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map(v =>"
                    "[v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 150) + n.failureSummary.slice(0, 150))])))"
                )
                assert not found, f"{state}, {width}, {theme}: {json.dumps(found, indent=1)}"
            self.browser.execute_script("document.body.classList.remove('dark')")
        self.size("desktop")


@pytest.fixture(scope="module")
def page(browser, space, folder):
    page = Page(browser, space.address, folder)
    yield page
    assert browser.execute_script("return window.wrong") == [], "an answer stood beside another photo"
    errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in e["message"]]
    assert not errors, errors


def test_axe_is_there():
    if not AXE.is_file():
        pytest.skip("no axe-core here: make browser, or npm install --prefix .venv/axe axe-core")


def test_the_first_screen_says_what_it_is(page):
    text = page.one("body").text
    assert "practice model" in text and "Close Look" in text and "Up to 50 photos" in page.browser.page_source
    assert page.one("#types img").get_attribute("alt")
    assert page.browser.title == "Geograph types of a photo"
    page.accessible("empty")


def test_dropping_a_photo_answers_and_each_has_its_own_places(page):
    page.drop("in_london.jpg")
    text = page.answer_with("in_london.jpg")
    assert "GPS tag" in text and page.places() == ["", "", "TQ 30028 80432"]
    assert len(page.all("#details .gt-at:not([hidden]) .gt-mark")) == 7
    page.field("subject").send_keys("TQ 3503 8048")
    assert not page.all("#types .gt-types"), "the old answer goes at once"
    page.answer_with("the subject stands in TQ3580")
    assert "coordinates" in page.one("#details").text
    page.accessible("answered")
    page.drop("nowhere.jpg")
    page.answer_with("nowhere.jpg")
    assert page.places() == ["", "", ""]
    page.one(CLEAR).click()
    page.wait(lambda: not page.all("#types .gt-of"), "empty answer")


def test_the_newest_of_quick_questions_is_answered(page):
    page.drop("in_london.jpg")
    page.wait(lambda: page.all(CLEAR), "first photo")
    page.drop("nowhere.jpg")
    page.answer_with("nowhere.jpg")
    for text in ("1", "6", "00"):
        page.field("distance").send_keys(text)
    page.field("distance").send_keys(Keys.ENTER)
    page.answer_with("Distance: 1,024 to 2,048 m")
    time.sleep(1)
    assert "1,024 to 2,048 m" in page.one("#types").text and page.places()[2] == ""


def test_the_slider_speaks_in_metres(page):
    slider = page.one("#gt-distance")
    assert slider.get_attribute("aria-valuetext") == "1,024 to 2,048 m"
    before = page.one("#types").text
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("aria-valuetext") == "less than 1 m"
    assert "less than 1 m" in page.one("#details .gt-at:not([hidden])").text
    assert page.one("#types").text == before, "what would be is no answer"
    slider.send_keys(Keys.END)
    assert slider.get_attribute("aria-valuetext") == "not known"
    page.one(".gt-back").click()
    assert slider.get_attribute("aria-valuetext") == "1,024 to 2,048 m"
    assert page.one("#details svg.gt-plot").get_attribute("aria-label").startswith("Probability of each class")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("subject", "QQ nonsense", "QQ nonsense"),
        ("viewpoint", "-0.1283, 51.5074", "latitude comes first: 51.5074, -0.1283?"),
        ("distance", "far away", "metres"),
    ],
)
def test_a_mistake_is_said_at_its_field(page, name, text, says):
    page.field(name).clear()
    page.field(name).send_keys(text, Keys.ENTER)
    assert says in page.error_at(name)
    assert page.is_focused(name) and page.field(name).get_attribute("aria-invalid") == "true"
    assert not page.all("#types .gt-types") and len(page.all(".gt-error")) == 1
    if name == "subject":
        page.accessible("error")
    page.field(name).send_keys(Keys.CONTROL, "a")
    page.field(name).send_keys(Keys.BACKSPACE, Keys.ENTER)
    page.answer_with("nowhere.jpg")
    assert not page.all(".gt-error")


def test_what_contradicts_itself_is_said(page):
    page.drop("in_paris.jpg")
    assert "neither Britain nor Ireland" in page.answer_with("in_paris.jpg")
    page.field("subject").send_keys("TQ 3003 8048")
    page.field("viewpoint").send_keys("TQ 3005 8050")
    page.field("distance").send_keys("5000", Keys.ENTER)
    assert "distance says 5,000 m, but the two points are 28 m apart" in page.answer_with("28 m")


@pytest.mark.parametrize("name", ["no_photo.jpg", "empty.jpg", "phone.heic", "large.jpg"])
def test_what_is_no_photo_is_said_at_the_photo(page, name):
    page.drop(name)
    said = page.error_at("photo")
    assert name in said and "/" not in said.replace("JPEG", "") and not page.all("#types .gt-of")


def test_the_embedding_tab(page, space):
    page.all("button[role=tab]")[1].click()
    page.wait(lambda: page.field("row").is_displayed(), "row")
    assert not page.all("#types .gt-of")
    rows = page.all("#photo-part [role=tabpanel] button")
    next(button for button in rows if "row 1" in button.text).click()
    page.answer_with("Distance: not known")
    page.field("distance").send_keys("300", Keys.ENTER)
    page.answer_with("Distance: 256 to 512 m")
    page.accessible("embedding")
    page.all("button[role=tab]")[0].click()


def test_an_example_by_keyboard_alone(page):
    if buttons := page.all(CLEAR):
        buttons[0].click()
    example = page.wait(lambda: page.all(".gt-examples button")[0], "example")
    page.browser.execute_script("arguments[0].focus()", example)
    example.send_keys(Keys.ENTER)
    page.answer_with("1_valley.jpg")
    assert page.places()[1:] == ["NY 2150 0720", "NY 2148 0718"]
    page.size("phone")
    types, photo, places = (page.one(s).rect for s in ("#types", "#photo", "#places"))
    assert photo["y"] < types["y"] < places["y"] and types["y"] - photo["y"] - photo["height"] < 60
    page.size("desktop")


def test_results_outlive_the_page_that_gradio_loads_anew(page):
    """It does so when a lost connection is there again; whoever reloads otherwise has nothing of before."""
    page.one(".gt-examples button").click()
    page.answer_with("1_valley.jpg")
    for connection_lost in (True, False):
        if connection_lost:
            page.browser.execute_script("dispatchEvent(new Event('offline'))")
        page.browser.refresh()
        page.wait(lambda: page.one("#show"), "page")
        page.browser.execute_script(WATCH)
        if connection_lost:
            kept = page.wait(lambda: page.one("#kept"), "what was kept")
            assert "From before the connection was lost" in kept.text and "1_valley.jpg" in kept.text
            assert not page.all("#types .gt-of"), "it is not this page's own answer"
            page.accessible("kept")
            kept.find_element(By.TAG_NAME, "button").click()
        assert not page.all("#kept")


def test_many_photos(page, folder):
    page.one("#many-part button").click()
    files = page.wait(lambda: page.one("#files input[type=file]"), "files")
    page.wait(lambda: not page.all("#files .upload-container[aria-label]"), "a button whose text is its name")
    names = ["in_london.jpg", "no_photo.jpg", "nowhere.jpg"]
    files.send_keys("\n".join(str(folder / name) for name in names))
    page.wait(lambda: "no_photo" in page.one("#files").text.replace(" ", ""), "uploads")
    page.field("many-subject").send_keys("TQ 3503 8048")
    page.one("#ask-many").click()
    rows = page.wait(lambda: page.all("#many tbody tr"), "table")
    assert [row.find_element(By.TAG_NAME, "th").text for row in rows] == names
    assert rows[0].find_element(By.TAG_NAME, "img").get_attribute("src").startswith("data:image/jpeg")
    assert "Cross Grid (from the coordinates)" in rows[0].text and "cannot be used" in rows[1].text
    data = base64.b64decode(page.one("#many a[download]").get_attribute("href").split(",", 1)[1])
    assert data.startswith(b"\xef\xbb\xbf")
    cells = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
    assert [row["path"] for row in cells] == names
    assert cells[0]["cross_grid"] == "geometry" and float(cells[0]["Cross Far"]) < 1 and cells[1]["error"]
    page.accessible("many")
    page.field("many-subject").send_keys("x")
    page.wait(lambda: not page.all("#many table"), "no table")
    page.one("#ask-many").click()
    assert "no place" in page.error_at("many-subject")
    assert not page.all("#many table")
