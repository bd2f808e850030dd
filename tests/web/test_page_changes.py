"""What changes while the page is open, and what others put into it: new versions, models, names, tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from benchmarks.in_browser import Browser
from page_sites import SECONDS_MS, read_csv, served, service, wait_for
from PIL import Image
from playwright.sync_api import Page, expect

import headstart as hs
from colours import INFO, colours_model
from headstart.inference.run_self_test import seal_with_self_test

pytestmark = pytest.mark.browser

MARKUP = '<img src=x onerror="document.title=1">'
HOSTILE_CLASSES = (MARKUP, "=1+1", "\u202egreen" + "n" * 300)


def write_colours(file: Path, names: tuple[str, ...]) -> Path:
    from dataclasses import replace

    file.write_bytes(seal_with_self_test(colours_model(), replace(INFO, class_names=names)))
    return file


def plain(file: Path, colour: str) -> Path:
    Image.new("RGB", (64, 48), colour).save(file)
    return file


def replace_files(new: Path, folder: Path) -> None:
    """Copy files over others, as somebody does who uploads a new version."""
    for file in new.rglob("*"):
        if file.is_file():
            shutil.copyfile(file, folder / file.relative_to(new))


def until_version(page: Page, last: str = "") -> str:
    """Wait for a service worker that keeps only another version than the last; return what is kept."""
    script = """async (last) => {
        const registration = await navigator.serviceWorker.ready;
        await registration.update().catch(() => {});
        for (let tries = 0; tries < 100; tries++) {
            const names = await caches.keys();
            const isIdle = !registration.installing && !registration.waiting;
            if (isIdle && names.length === 1 && names[0] !== last) return names[0];
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
        return last;
    }"""
    return str(page.evaluate(script, last))


def test_a_new_version_is_used_once_it_is_whole(browser: Browser, page: Page, tmp_path: Path) -> None:
    site, half, new = (tmp_path / name for name in ("site", "half", "new"))
    hs.export(write_colours(tmp_path / "a.onnx", ("red", "green", "blue")), "web", site)
    hs.export(write_colours(tmp_path / "b.onnx", ("rot", "grün", "blau")), "web", new)
    shutil.copytree(site, half)
    shutil.copyfile(new / "files.js", half / "files.js")
    with served(site, keep_for_seconds=86_400) as address:
        page.goto(address)
        expect(page.locator("#knows")).to_contain_text("red", timeout=SECONDS_MS)
        first = until_version(page)
        replace_files(half, site)  # the list is new, the model is not
        assert until_version(page, first) == first
        page.reload()
        expect(page.locator("#knows")).to_contain_text("red", timeout=SECONDS_MS)
        replace_files(new, site)
        assert until_version(page, first) != first
        page.reload()
        expect(page.locator("#knows")).to_contain_text("rot", timeout=SECONDS_MS)
        page.set_input_files("#files", plain(tmp_path / "blue.png", "blue"))
        wait_for(page, 1)
        expect(page.locator(".answer")).to_have_text("blau")


def test_names_are_texts_and_never_markup_or_formulas(page: Page, tmp_path: Path) -> None:
    model = write_colours(tmp_path / "colours.onnx", HOSTILE_CLASSES)
    photos = [
        plain(tmp_path / f"{MARKUP.replace('/', '')}.png", "red"),
        plain(tmp_path / "=HYPERLINK(1).png", "green"),
        plain(tmp_path / ("\u202egnp." + "x" * 200 + ".png"), "blue"),
    ]
    with service(model) as address:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(address)
        page.set_input_files("#files", photos)
        wait_for(page, 3)
        assert page.locator("img[src='x']").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        rows = {row["path"]: row["label"] for row in read_csv(page)}
        assert rows["./=HYPERLINK(1).png"] == "'=1+1"
        assert rows[photos[0].name] == MARKUP
        for photo in photos:
            page.get_by_role("button", name=photo.name).click()
            expect(page.locator("figcaption")).to_contain_text(photo.name)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            page.get_by_role("button", name="Back to all photos").click()
        assert page.title() != "1"


def test_a_replaced_model_is_noticed_and_all_photos_are_predicted_with_it(page: Page, tmp_path: Path) -> None:
    model = write_colours(tmp_path / "colours.onnx", ("red", "green", "blue"))
    first, second = plain(tmp_path / "1.png", "red"), plain(tmp_path / "2.png", "blue")
    with service(model) as address:
        page.goto(address)
        page.set_input_files("#files", first)
        wait_for(page, 1)
        write_colours(tmp_path / "new.onnx", ("rot", "grün", "blau")).replace(model)
        page.evaluate("""async () => {
            const served = async () => (await (await fetch('v1/models')).json()).models[0];
            while ((await served()).class_names[0] !== 'rot') await new Promise((go) => setTimeout(go, 100));
        }""")
        page.set_input_files("#files", second)
        expect(page.get_by_role("alert")).to_contain_text("has been replaced")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#knows")).to_contain_text("rot")
        wait_for(page, 2)
        assert [row["label"] for row in read_csv(page)] == ["rot", "blau"]


def test_a_token_that_fits_into_no_header_is_wrong_like_any_other(page: Page, tmp_path: Path) -> None:
    model = write_colours(tmp_path / "colours.onnx", ("red", "green", "blue"))
    with service(model, token="open-sesame-8f2c11aa") as address:
        page.goto(address)
        for token in ("口令口令口令口令口令", "two words of it"):
            page.get_by_role("textbox", name="Token").fill(token)
            page.keyboard.press("Enter")
            expect(page.locator("#token-wrong")).to_be_visible()
        page.get_by_role("textbox", name="Token").fill("open-sesame-8f2c11aa")
        page.keyboard.press("Enter")
        expect(page.locator("#knows")).to_contain_text("red", timeout=SECONDS_MS)


def test_a_photo_that_is_open_when_the_rest_is_cancelled_is_closed(page: Page, tmp_path: Path) -> None:
    model = write_colours(tmp_path / "colours.onnx", ("red", "green", "blue"))
    photos = [plain(tmp_path / f"{number}.png", "red") for number in range(8)]
    with service(model) as address:
        page.goto(address)
        page.set_input_files("#files", photos[0])
        wait_for(page, 1)
        page.route("**/v1/predict*", lambda route: None)  # no answer ever
        page.set_input_files("#files", photos[1:])
        page.get_by_role("button", name="7.png").click()
        expect(page.locator("#detail")).to_contain_text("waiting")
        page.get_by_role("button", name="Cancel").click()
        wait_for(page, 1)
        expect(page.locator("#detail")).to_contain_text("red")
        page.unroute("**/v1/predict*")
