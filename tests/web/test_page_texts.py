"""Names from right to left, counts, training photos beside an answer, and messages that come late."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from page_sites import SECONDS_MS, read_csv, served, service, wait_for
from PIL import Image
from playwright.sync_api import Page, expect

import headstart as hs
from colours import INFO, colours_model
from headstart.inference.run_self_test import seal_with_self_test

pytestmark = pytest.mark.browser

HEBREW = ("אדום (1)", "ירוק 2", "כחול")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("models") / "colours.onnx"
    file.write_bytes(seal_with_self_test(colours_model(), replace(INFO, class_names=HEBREW)))
    return file


def plain(file: Path, colour: str) -> Path:
    Image.new("RGB", (64, 48), colour).save(file)
    return file


LEFT_OF_TEXT = """([selector, text]) => {
    const texts = document.createTreeWalker(document.querySelector(selector), NodeFilter.SHOW_TEXT);
    for (let node; (node = texts.nextNode()); ) {
        const at = node.data.indexOf(text);
        if (at < 0) continue;
        const range = document.createRange();
        range.setStart(node, at);
        range.setEnd(node, at + text.length);
        return range.getBoundingClientRect().left;
    }
}"""


def test_names_from_right_to_left_leave_everything_in_its_place(
    page: Page, colours: Path, tmp_path: Path
) -> None:
    photos = [plain(tmp_path / "צילום (3).png", "red"), plain(tmp_path / "b.png", "blue")]

    def left(selector: str, text: str) -> float:
        return float(page.evaluate(LEFT_OF_TEXT, [selector, text]))

    with service(colours) as address:
        page.goto(address)
        expect(page.locator("#knows")).to_contain_text("ירוק", timeout=SECONDS_MS)
        assert left("#knows", "אדום") < left("#knows", "ירוק") < left("#knows", "כחול")
        page.set_input_files("#files", photos)
        wait_for(page, 2)
        assert [row["label"] for row in read_csv(page)] == ["אדום (1)", "כחול"]  # without signs of direction
        name = page.get_by_role("button", name=photos[0].name)
        assert left("tbody td.name", ".png") < left("tbody td.name", "צילום")  # as people read the name
        name.click()
        for bar in range(3):
            line = page.locator(".bars .line").nth(bar).locator("span")
            boxes = [line.first.bounding_box(), line.last.bounding_box()]
            assert boxes[0] is not None
            assert boxes[1] is not None
            assert boxes[0]["x"] < boxes[1]["x"]
        assert page.locator(".bars bdi").all_inner_texts()[0] == HEBREW[0]
        expect(page.locator("figcaption bdi")).to_have_text(photos[0].name)


def test_the_summary_counts_photos_that_could_not_be_read_apart(
    page: Page, colours: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no photo")
    with service(colours) as address:
        page.goto(address)
        page.set_input_files("#files", broken)
        expect(page.locator("#status")).to_contain_text("The photo could not be read", timeout=SECONDS_MS)
        page.set_input_files("#files", [plain(tmp_path / f"{number}.png", "red") for number in range(2)])
        expect(page.locator("#status")).to_contain_text("2 of 3 photos predicted, 1 could not be read")
        page.locator("#language").select_option("zh")
        expect(page.locator("#status")).to_contain_text("已预测 3 张照片中的 2 张，1 张无法读取")
        page.get_by_role("button", name="清空").click()
        page.set_input_files("#files", broken)
        expect(page.locator("#status")).to_contain_text("照片无法读取")


def test_similar_training_photos_are_beside_an_answer_if_the_service_shows_them(
    page: Page, demo_run: Path, tmp_path: Path
) -> None:
    photo = next((demo_run.parent / "photos").rglob("*.jpg"))
    asked = tmp_path / "asked.png"
    with Image.open(photo) as image:
        image.save(asked)
    wanted = hs.similar(demo_run, asked, 3, verbose=False)[0]
    with service(demo_run, "--similar") as address:
        page.goto(address)
        page.set_input_files("#files", asked)
        found = page.locator(".similar li")
        expect(found).to_have_count(3, timeout=SECONDS_MS)
        assert found.locator("strong").all_inner_texts() == [each.label for each in wanted]
        folder = demo_run.parent / "photos"
        names = [Path(each.path).relative_to(folder).as_posix() for each in wanted]
        assert found.locator(".path").all_inner_texts() == names
        assert float(found.locator("span[title]").first.inner_text()) == pytest.approx(
            wanted[0].similarity, abs=0.011
        )
        is_drawn = "(image) => image.decode().then(() => image.naturalWidth)"
        assert all(0 < each.evaluate(is_drawn) <= 160 for each in found.locator("img").all())
    with service(demo_run) as address:
        page.goto(address)
        page.set_input_files("#files", asked)
        wait_for(page, 1)
        expect(page.locator(".bars")).to_be_visible()
        expect(page.locator(".similar, h3")).to_have_count(0)


def test_a_message_of_the_worker_that_nobody_waits_for_does_no_harm(
    page: Page, colours: Path, tmp_path: Path
) -> None:
    hs.export(colours, "web", tmp_path / "site")
    page.add_init_script(
        "window.Worker = class extends Worker {"
        " constructor(...given) { super(...given); window.workers = [...(window.workers ?? []), this]; } };"
    )
    with served(tmp_path / "site") as address:
        page.goto(address)
        expect(page.locator("#knows")).to_contain_text("ירוק", timeout=SECONDS_MS)
        late = "window.workers[0].dispatchEvent(new MessageEvent('message', { data: { id: 1, found: {} } }))"
        page.evaluate(late)
        page.set_input_files("#files", plain(tmp_path / "red.png", "red"))
        wait_for(page, 1)
        expect(page.locator(".answer")).to_contain_text("אדום")
