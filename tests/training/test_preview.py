"""The sheet that ``headstart augment`` draws: what it shows, and what it never writes over."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ConfigError, DataError, UsageError
from headstart.images.view import Step
from headstart.training.tools.preview import augment
from headstart.views.sheet import Picture, Section, describe, draw_sheet, fit

RESNET = {"backbone": "resnet18", "size_px": 32}


def draw(data: Path, out: Path, **options: Any) -> Any:
    return augment(data, out, **{**RESNET, "num_views": 3, "num_photos": 4, **options})


def test_the_sheet_is_a_picture_with_a_row_for_each_photo(photos: Path, tmp_path: Path) -> None:
    few, more = tmp_path / "few.png", tmp_path / "more.png"
    assert draw(photos, few, augment="light").num_photos == 4
    assert draw(photos, more, augment="light", num_photos=7, num_views=5).num_photos == 7
    with Image.open(few) as a, Image.open(more) as b:
        assert a.size[0] < b.size[0]
        assert a.size[1] < b.size[1]


def test_equal_settings_give_equal_sheets_and_another_seed_another(photos: Path, tmp_path: Path) -> None:
    sheets = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.png"
        draw(photos, out, augment="medium", seed=seed)
        sheets.append(out.read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def recipe(tmp_path: Path, *phases: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text("\n".join(f"[[phases]]\n{phase}" for phase in phases))
    return path


def test_the_views_are_those_that_training_makes(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[Section]] = []

    def record(title: str, sections: list[Section]) -> Image.Image:
        drawn.append(sections)
        return draw_sheet(title, sections)

    monkeypatch.setattr("headstart.training.tools.preview.draw_sheet", record)
    phases = [
        'name = "a"',
        'name = "b"\naugment = "light"\nviews = 2',
        'name = "c"\naugment = "light"\nviews = 2',
        'name = "d"\naugment = [{op = "rotation", degrees = 30}]\nviews = 9',
    ]
    draw(photos, tmp_path / "sheet.png", recipe=recipe(tmp_path, *phases), num_photos=2)
    light, turned = drawn[0]
    assert light.heading == "phases b, c: light, 2 views of each photo"
    assert [len(row) for row in light.rows] == [4, 4]  # the photo, as predicted, two views
    assert turned.heading == "phase d, 9 views of each photo"
    assert [len(row) for row in turned.rows] == [5, 5]  # as many as asked for
    assert turned.lines == ["rotation (degrees -30 to 30)"]

    # The same as what a phase's features are made from.
    from hashlib import sha256

    from headstart.images.preprocess import load_pixels
    from headstart.model.backbones import resolve
    from headstart.views.augmentation import Augmentation

    preprocessing = replace(resolve("resnet18").preprocessing, size_px=32)
    original, _, _, second = light.rows[1]
    content = (photos / "train" / original.title / original.text).read_bytes()
    view = Augmentation("light", 0).view(sha256(content).hexdigest(), 2)
    assert (second.pixels == load_pixels(content, preprocessing, path="", view=view)).all()


def box_table(folder: Path, boxes: list[tuple[int, int, int, int]]) -> Path:
    """Grey photos with a blue rectangle each, and a table of where it is."""
    folder.mkdir()
    with (folder / "boxes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "xmin", "ymin", "xmax", "ymax"])
        for number, (left, top, right, bottom) in enumerate(boxes):
            image = Image.new("RGB", (120, 90), "grey")
            image.paste((40, 60, 230), (left, top, right, bottom))
            image.save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", left, top, right, bottom])
    return folder / "boxes.csv"


def sections_of(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Section]:
    drawn: list[Section] = []

    def record(title: str, sections: list[Section]) -> Image.Image:
        drawn.extend(sections)
        return draw_sheet(title, sections)

    monkeypatch.setattr("headstart.training.tools.preview.draw_sheet", record)
    draw(data, out, **options)
    return drawn


def corners(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_boxes_are_drawn_where_views_move_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the corners, where a crop often cuts them off and another view must stand for it.
    boxes = [(4, 6, 40, 40), (70, 50, 118, 88), (5, 50, 50, 80), (80, 3, 115, 50)]
    turned = [{"op": "resized-crop", "area": [0.3, 1.0]}, {"op": "horizontal-flip"}]
    (section,) = sections_of(
        box_table(tmp_path / "data", boxes),
        tmp_path / "sheet.png",
        monkeypatch,
        size_px=128,
        phases=[{"name": "a", "epochs": 3, "augment": turned}],
    )
    assert [len(row) for row in section.rows] == [5] * 4
    for original, *rest in section.rows:
        assert original.title == "box"
        assert [picture.title for picture in rest] == ["as predicted", "view 1", "view 2", "view 3"]
        for picture in rest:
            pixels = picture.pixels.astype(int)
            object_, edge = (pixels[..., a] - pixels[..., b] > 90 for a, b in ((2, 0), (0, 2)))
            # The edge, with its white one, lies on the outermost pixels of the object.
            np.testing.assert_allclose(corners(edge), corners(object_), atol=6)
    assert (section.rows[0][1].pixels != section.rows[0][2].pixels).any()


def test_where_every_view_loses_the_box_the_photo_is_shown_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (section,) = sections_of(
        box_table(tmp_path / "data", [(0, 0, 120, 90)] * 2),
        tmp_path / "sheet.png",
        monkeypatch,
        phases=[{"name": "a", "epochs": 3, "augment": [{"op": "resized-crop", "area": [0.1, 0.3]}]}],
    )
    for _, predicted, *views in section.rows:
        assert [view.text for view in views] == ["as it is"] * 3
        assert all((view.pixels == predicted.pixels).all() for view in views)


def test_no_augmentation_and_a_single_view_are_told(photos: Path, tmp_path: Path) -> None:
    (warning,) = draw(photos, tmp_path / "sheet.png", recipe="probe").warnings
    assert "'probe' augments photos" in warning
    assert "--augment" in warning
    once = recipe(tmp_path, 'name = "a"\naugment = "light"\nviews = 1')
    (warning,) = draw(photos, tmp_path / "sheet.png", recipe=once).warnings
    assert "views = 5" in warning


def test_flips_that_change_labels_are_told(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / "signs" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40), "red").save(tmp_path / "signs" / name / "a.png")
    (warning,) = draw(tmp_path / "signs", tmp_path / "sheet.png", augment="light").warnings
    assert "'left' and 'right'" in warning


def test_every_class_is_shown_before_any_comes_twice(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def record(title: str, sections: list[Section]) -> Image.Image:
        shown.extend(row[0].title for row in sections[0].rows)
        return draw_sheet(title, sections)

    monkeypatch.setattr("headstart.training.tools.preview.draw_sheet", record)
    draw(photos, tmp_path / "sheet.png", augment="light", num_photos=6)
    assert sorted(shown[:3]) == sorted(shown[3:]) == ["blue", "green", "red"]


def test_photos_that_cannot_be_read_are_named_and_others_shown(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_photos(tmp_path / "photos", {"": 2})
    for path in sorted(data.rglob("*0.jpg")):
        path.write_bytes(b"\xff\xd8\xffdamaged")
    result = draw(data, tmp_path / "sheet.png", augment="light", num_photos=100)
    assert result.num_photos == 3
    assert sorted(Path(path).name for path, _ in result.unreadable) == ["blue0.jpg", "green0.jpg", "red0.jpg"]

    for path in data.rglob("*.jpg"):
        path.write_bytes(b"\xff\xd8\xffdamaged")
    with pytest.raises(DataError, match="None of the photos can be read"):
        draw(data, tmp_path / "sheet.png", augment="light")


def test_a_sheet_is_replaced_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    draw(photos, out, augment="light")
    first = out.read_bytes()
    draw(photos, out, augment="strong")
    assert out.read_bytes() != first

    holiday, text = tmp_path / "holiday.png", tmp_path / "text.png"
    Image.new("RGB", (9, 9)).save(holiday)
    text.write_text("mine")
    for mine in (holiday, text):
        before = mine.read_bytes()
        with pytest.raises(UsageError, match="not made by headstart augment"):
            draw(photos, mine, augment="light")
        assert mine.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"out": "sheet.jpg"}, r"must end in \.png"),
        ({"out": "nowhere/sheet.png"}, "nowhere does not exist"),
        ({"out": "photos/sheet.png"}, "among the photos"),
        ({"out": "photos/train/red/sheet.png"}, "among the photos"),
        ({"augment": "lite"}, "Did you mean 'light'"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"data": "empty"}, "No images"),
        ({"data": "missing"}, "missing"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_drawn(
    options: dict[str, str], told: str, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    make_photos(tmp_path / "photos", {"train": 2})
    (tmp_path / "empty").mkdir()
    given = {"data": "photos", "out": "sheet.png", "augment": "light", **options}
    data, out = tmp_path / given.pop("data"), tmp_path / given.pop("out")
    with pytest.raises((UsageError, ConfigError), match=told):
        draw(data, out, **given)
    assert not out.exists()


def test_names_that_no_font_knows_and_long_ones_are_drawn() -> None:
    pixels = fit(np.zeros((20, 300, 3), np.uint8))
    assert pixels.shape == (12, 176, 3)
    strange = "öж中\N{OK HAND SIGN}\x00\udcff" + "long " * 40
    sheet = draw_sheet(strange, [Section(strange, [strange], [[Picture(pixels, strange, strange)] * 3])])
    assert sheet.size[0] == 56 + 3 * 188  # as wide as three pictures, whatever the text


def test_descriptions_break_between_operations_and_their_spaces_are_spaces() -> None:
    pixels = fit(np.zeros((20, 20, 3), np.uint8))

    def drawn(text: str) -> bytes:
        return draw_sheet("title", [Section("heading", [], [[Picture(pixels, "title", text)]])]).tobytes()

    assert drawn("a\N{NO-BREAK SPACE}b") == drawn("a b")
    assert drawn("a\N{REPLACEMENT CHARACTER}b") != drawn("a b")


def test_a_view_is_described_by_what_can_be_seen_and_by_the_names_that_users_write() -> None:
    assert describe([], 1) == "as it is"
    drawn: list[tuple[str, list[Step]]] = [
        ("resized-crop", [("part", (0.5, 1, 0, 0))]),
        ("padded-crop", [("translate", (0.1, 0.02))]),
        ("horizontal-flip", [("flip-x", ())]),
        ("rotation", [("rotate", (0.1,))]),
        ("affine", [("rotate", (12.3,)), ("shear", (0.1, 0)), ("scale", (1.001,)), ("translate", (0, -0.1))]),
        ("saturation", [("saturation", (1.2,))]),
        ("contrast", [("contrast", (1.001,))]),
        ("trivialaugment", [("equalise", ())]),
        ("erasing", [("erase", (0, 0, 1, 1))]),
    ]
    words = describe(drawn, 0.42).replace("\N{NO-BREAK SPACE}", " ")
    assert words == (
        "resized-crop 42 % · padded-crop +10, +2 % · horizontal-flip · affine rotate +12°, shear +10, +0 %, "
        "translate +0, -10 % · saturation 1.20 · equalise · erasing"
    )


def test_nothing_is_cut_off() -> None:
    pixels = fit(np.zeros((20, 20, 3), np.uint8))

    def height(title: str = "t", heading: str = "h", name: str = "n", text: str = "x") -> int:
        return draw_sheet(title, [Section(heading, [], [[Picture(pixels, name, text)]])]).size[1]

    long = "word " * 60
    assert (
        min(height(title=long), height(heading=long), height(name=long), height(text=long)) > height() + 100
    )
    assert height(text="a_name_without_a_space" * 20) > height() + 100
