"""The page, as a visitor uses it: with a mouse, without one, on a phone, in the dark and in Chinese."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.in_browser import Browser
from page_sites import SECONDS_MS, read_csv, served, service, wait_for
from PIL import Image
from playwright.sync_api import ConsoleMessage, Page, expect

import headstart as hs
from colours import INFO, colours_model
from headstart.inference.model_file import seal_onnx
from headstart.products.web_runtime import npm_files

pytestmark = pytest.mark.browser

AXE = (
    "axe-core",
    "4.10.3",
    "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg==",
)
"""Deque's axe (MPL-2.0), which finds what keeps people from using a page; used by this test only."""


@pytest.fixture(scope="module")
def exported(demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that contains the page for a model in a sub-folder, "apps/weather"."""
    root = tmp_path_factory.mktemp("served")
    (root / "apps").mkdir()
    hs.export(demo_run, "web", root / "apps" / "weather")
    return root


@pytest.fixture(scope="module", params=["web folder", "service"])
def site(request: pytest.FixtureRequest, exported: Path, demo_run: Path) -> Iterator[str]:
    """Address of a page: of a web folder, and of a service behind a path of its own."""
    if request.param == "service":
        with service(demo_run, "--root-path", "/apps/photos") as address:
            yield address
    else:
        with served(exported) as address:
            yield f"{address}apps/weather/"


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """The page, open and ready. An error in its log, or a request to another place, fails the test."""
    context = browser.new_context(locale="en-US", accept_downloads=True)
    with context:
        opened = context.new_page()
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", lambda said: note_fault(said, faults))
        elsewhere: list[str] = []
        context.on("request", lambda request: note_foreign(request.url, site, elsewhere))
        opened.goto(site)
        expect(opened.locator("#knows")).not_to_be_empty(timeout=SECONDS_MS)
        yield opened
        assert faults == []
        assert elsewhere == []


def note_fault(said: ConsoleMessage, faults: list[str]) -> None:
    """Note an error in the log. That a photo is refused is no fault of the page, but browsers log it."""
    if said.type == "error" and "status of 422" not in said.text:
        faults.append(said.text)


def note_foreign(url: str, site: str, elsewhere: list[str]) -> None:
    if not url.startswith((site, "blob:")):
        elsewhere.append(url)


@pytest.fixture(scope="module")
def photos(demo_run: Path) -> list[Path]:
    found = sorted((demo_run.parent / "photos").rglob("*.jpg")) + sorted(
        (demo_run.parent / "photos").rglob("*.png")
    )
    assert len(found) >= 20
    return found


def test_one_photo_has_the_answer_of_python_and_a_heat_map(
    page: Page, photos: list[Path], demo_run: Path
) -> None:
    (wanted,) = hs.load(demo_run).predict([photos[0]])
    page.set_input_files("#files", photos[0])
    expect(page.locator(".answer")).to_have_text(str(wanted.label), timeout=SECONDS_MS)
    shown = page.locator(".bars .is-answer .line span").last.inner_text()
    assert float(shown.rstrip("%")) == pytest.approx(100 * wanted.probability, abs=0.2)
    page.get_by_label("Show where the answer comes from").check()
    expect(page.locator(".frame canvas")).to_be_visible()
    expect(page.locator("figcaption")).to_contain_text(f"speaks for “{wanted.label}”")
    page.get_by_label("Show where the answer comes from").uncheck()
    expect(page.locator(".frame canvas")).to_have_count(0)


def test_twenty_photos_are_a_table_that_is_sorted_filtered_and_saved(
    page: Page, photos: list[Path], demo_run: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photos[0].read_bytes()[:60])
    page.set_input_files("#files", [*photos[:20], broken])
    wait_for(page, 21, failed=1)
    wanted = {each.path: each for each in hs.load(demo_run).predict_iter(map(str, photos[:20]))}
    rows = read_csv(page)
    assert [row["path"] for row in rows] == [*(path.name for path in photos[:20]), "broken.jpg"]
    for path, row in zip(photos[:20], rows, strict=False):
        assert row["label"] == wanted[str(path)].label
        assert float(row["probability"]) == pytest.approx(wanted[str(path)].probability, abs=0.02)
    assert "truncated or damaged JPEG" in rows[-1]["error"]

    page.get_by_role("button", name="Doubt").click()
    header = page.locator("th").filter(has_text="Doubt")
    expect(header).to_have_attribute("aria-sort", "descending")
    names = page.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert names[-1] == "broken.jpg"  # without an answer, it is last in every order
    page.locator("#kind").select_option(label="photos without an answer")
    assert page.locator("tbody tr td:nth-child(2)").all_inner_texts() == ["broken.jpg"]
    page.locator("#kind").select_option(label="all photos")
    page.get_by_label("File name contains").fill(photos[3].stem)
    expect(page.locator("caption")).to_contain_text("of 21 photos")
    assert photos[3].name in page.locator("tbody tr td:nth-child(2)").all_inner_texts()


def test_a_folder_is_read_whole_and_other_files_are_counted(
    page: Page, photos: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "holiday"
    for number, photo in enumerate(photos[:3]):
        (folder / f"day {number}").mkdir(parents=True)
        shutil.copy(photo, folder / f"day {number}" / photo.name)
    (folder / "notes.txt").write_text("sunny")
    (folder / ".hidden.jpg").write_bytes(b"")
    page.set_input_files("#folder", folder)
    wait_for(page, 3)
    expect(page.locator("#notice")).to_have_text("1 file is no photo and was left out. ")
    names = page.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert names == [f"holiday/day {number}/{photo.name}" for number, photo in enumerate(photos[:3])]


def test_photos_come_by_dropping_and_pasting(page: Page, photos: list[Path]) -> None:
    put = """async ([kind, name, bytes]) => {
        const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], name, { type: 'image/jpeg' }));
        const event = kind === 'drop'
            ? new DragEvent('drop', { dataTransfer: carried, bubbles: true, cancelable: true })
            : new ClipboardEvent('paste', { clipboardData: carried, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    for count, kind in enumerate(("drop", "paste"), 1):
        page.evaluate(put, [kind, f"{kind}.jpg", list(photos[count].read_bytes())])
        wait_for(page, count)
    page.get_by_role("button", name="Back to all photos").click()
    assert page.locator("tbody tr td:nth-child(2)").all_inner_texts() == ["drop.jpg", "paste.jpg"]


def test_everything_can_be_done_without_a_mouse(page: Page, photos: list[Path]) -> None:
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["language", "choose", "choose-folder", "take", ""]  # last, about this model
    # The system's own window for choosing files cannot be driven; it opens when the input is clicked.
    note = "(event) => { event.preventDefault(); window.asked = true; }"
    page.evaluate(f"() => {{ document.getElementById('files').onclick = {note}; }}")
    page.locator("#choose").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("window.asked")
    page.set_input_files("#files", photos[:3])
    wait_for(page, 3)
    page.locator("tbody button").nth(1).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_be_focused()
    expect(page.locator("figcaption")).to_contain_text(photos[1].name)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # back to all photos
    expect(page.locator("#list")).to_be_focused()


def test_a_screen_reader_finds_its_way(page: Page, photos: list[Path]) -> None:
    axe = npm_files(*AXE, ["axe.min.js"])["axe.min.js"].decode()

    def faults() -> list[Any]:
        page.evaluate(axe)
        found = page.evaluate("axe.run()")
        return [
            (each["id"], [node["html"] for node in each["nodes"]])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]

    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert faults() == []
        page.set_input_files("#files", photos[:3])
        wait_for(page, 3)
        assert faults() == []
        page.locator("tbody button").first.click()
        assert faults() == []
        page.get_by_role("button", name="Clear").click()


def test_on_a_phone_in_the_dark_and_in_chinese_nothing_is_cut_off(page: Page, photos: list[Path]) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark")
    page.locator("#language").select_option("zh")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.set_input_files("#files", photos[:3])
    expect(page.locator("#status")).to_contain_text("已预测 3 张照片", timeout=SECONDS_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.locator("tbody button").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    colours = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colours == "rgb(13, 17, 23)"


def test_it_works_without_a_connection_once_it_was_open(
    browser: Browser, exported: Path, photos: list[Path]
) -> None:
    with browser.new_context(locale="en-US") as context:
        page = context.new_page()
        with served(exported) as address:
            page.goto(f"{address}apps/weather/")
            page.evaluate("navigator.serviceWorker.ready.then(() => true)")
            expect(page.locator("#knows")).not_to_be_empty(timeout=SECONDS_MS)
        context.set_offline(True)
        page.reload()
        page.set_input_files("#files", photos[0])
        wait_for(page, 1)


def test_opened_as_a_file_it_says_what_to_do(browser: Browser, exported: Path) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto((exported / "apps" / "weather" / "index.html").as_uri())
        expect(page.locator("#not-started")).to_be_visible()
        expect(page.locator("#not-started")).to_contain_text("python3 -m http.server --bind 127.0.0.1")


def test_a_damaged_model_is_refused_in_a_sentence(browser: Browser, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "apps" / "weather", tmp_path / "site")
    content = bytearray((tmp_path / "site" / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "site" / "model.onnx").write_bytes(content)
    with served(tmp_path / "site") as address, browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.goto(address)
        expect(page.get_by_role("alert")).to_contain_text("is damaged", timeout=SECONDS_MS)


def test_a_scan_is_answered_by_the_service_only_and_displayed_by_neither(
    page: Page, photos: list[Path], tmp_path: Path, site: str
) -> None:
    with Image.open(photos[0]) as image:
        image.save(tmp_path / "scan.tif")
    page.set_input_files("#files", tmp_path / "scan.tif")
    expect(page.locator(".no-picture")).to_be_visible()
    if "apps/weather" in site:
        wanted = "save it as JPEG or PNG"
        expect(page.locator(".message.is-error")).to_contain_text(wanted, timeout=SECONDS_MS)
    else:
        expect(page.locator(".bars li")).not_to_have_count(0, timeout=SECONDS_MS)


def test_a_token_is_asked_for_and_never_in_an_address(
    browser: Browser, demo_run: Path, photos: list[Path]
) -> None:
    with (
        service(demo_run, token="open-sesame-8f2c11aa") as address,
        browser.new_context(locale="en-US") as context,
    ):
        page = context.new_page()
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        for token, is_right in (("wrong", False), ("open-sesame-8f2c11aa", True)):
            page.get_by_role("textbox", name="Token").fill(token)
            page.keyboard.press("Enter")
            if is_right:
                expect(page.locator("#knows")).not_to_be_empty(timeout=SECONDS_MS)
            else:
                expect(page.locator("#token-wrong")).to_be_visible()
        page.set_input_files("#files", photos[0])
        wait_for(page, 1)
        page.reload()  # the tab has the token
        expect(page.locator("#knows")).not_to_be_empty(timeout=SECONDS_MS)
        assert any("predict" in url for url in asked)
        assert not [url for url in asked if "sesame" in url or "wrong" in url]
        assert "sesame" not in page.url


def test_several_models_can_be_chosen_from(
    browser: Browser, demo_run: Path, photos: list[Path], tmp_path: Path
) -> None:
    colours = tmp_path / "colours.onnx"
    colours.write_bytes(seal_onnx(colours_model(), INFO))
    with service(demo_run, colours) as address, browser.new_context(locale="en-US") as context:
        page = context.new_page()
        page.goto(address)
        page.set_input_files("#files", photos[0])
        wait_for(page, 1)
        first = page.locator(".answer").inner_text()
        page.locator("#model").select_option("colours")
        expect(page.locator("h1")).to_contain_text("colours")
        expect(page.locator(".answer")).not_to_have_text(first, timeout=SECONDS_MS)
        assert page.locator(".answer").inner_text() in INFO.class_names
