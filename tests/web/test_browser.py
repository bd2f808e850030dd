"""headstart-web gives Python's answers in a browser."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import pytest
from benchmarks.in_browser import Browser
from PIL import Image
from PIL import __version__ as pillow_version
from playwright.sync_api import Error
from skimage import data
from tests.web.photo_kinds import TURNED, UPRIGHT, encoded

import headstart as hs
from colours import INFO, colours_model
from headstart.images.decode import decode
from headstart.images.preprocess import preprocess
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor

pytestmark = pytest.mark.browser

ASTRONAUT = Image.fromarray(data.astronaut()).crop((60, 0, 360, 230))


def in_python(predictor: Predictor, photo: bytes) -> Any:
    """Return the prediction for a photo that is decoded in full."""
    (found,) = predictor.predict([np.asarray(decode(photo, path="photo"))])
    return found


def same(found: dict[str, Any], wanted: Any, tolerance: float = 1e-5) -> None:
    """Assert that a prediction of the browser is that of Python."""
    assert found["label"] == wanted.label
    names = [each["label"] for each in found["probabilities"]]
    assert names == list(wanted.probabilities)
    shares = [each["probability"] for each in found["probabilities"]]
    assert shares == pytest.approx(list(wanted.probabilities.values()), abs=tolerance)
    assert found["labels"] == list(wanted.labels)
    assert found["numbers"] == pytest.approx(wanted.numbers, abs=tolerance)
    assert (found["box"] is None) == (wanted.box is None)
    if wanted.box is not None:
        assert found["box"] == pytest.approx(list(wanted.box), abs=0.01)
    assert found["unknown"] == wanted.unknown
    assert (found["unknownScore"] or 0) == pytest.approx(wanted.unknown_score or 0, abs=tolerance)


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """25 parts of photographs, upright and across, of 150 to 500 pixels."""
    generator = np.random.default_rng(0)
    found = []
    for name in ("astronaut", "coffee", "chelsea", "rocket", "immunohistochemistry"):
        whole = Image.fromarray(getattr(data, name)())
        for _ in range(5):
            width, height = generator.integers(150, min(500, *whole.size), 2, endpoint=True).tolist()
            left = int(generator.integers(0, whole.width - width, endpoint=True))
            top = int(generator.integers(0, whole.height - height, endpoint=True))
            found.append(whole.crop((left, top, left + width, top + height)))
    return found


@pytest.fixture(scope="module")
def model(demo_run: Path) -> Path:
    return demo_run / "model.onnx"


def test_200_photos_of_all_formats_and_orientations(
    browser: Browser, photographs: list[Image.Image], model: Path
) -> None:
    kinds = [(kind, orientation) for kind in TURNED for orientation in range(1, 9)]
    kinds += [(kind, 1) for kind in UPRIGHT]
    kinds += [(kind, 1) for kind in [*UPRIGHT, *TURNED]][: 200 - len(kinds)]
    predictor, changed, largest = hs.load(model), [], 0.0
    browser.load(model.read_bytes())
    for number, (kind, orientation) in enumerate(kinds):
        photo = encoded(photographs[number % len(photographs)], kind, orientation)
        wanted, found = in_python(predictor, photo), browser.predict(photo)
        if found["label"] != wanted.label:
            changed.append((kind, orientation))
        differences = (
            abs(each["probability"] - wanted.probabilities[each["label"]]) for each in found["probabilities"]
        )
        largest = max(largest, *differences)
    print(
        f"\nChromium {browser.version}: {len(changed)} of {len(kinds)} answers changed {changed}, largest "
        f"difference {largest:.6f}"
    )
    assert len(kinds) >= 200
    assert len(changed) <= 0.005 * len(kinds)
    assert largest <= 0.02


# Where the browser converts colours, it rounds otherwise than lcms2.
CONVERTED = {"profile": 3, "adobe-rgb": 1, "display-p3": 1}


@pytest.mark.parametrize("kind", TURNED | UPRIGHT)
def test_the_network_gets_the_same_pixels(browser: Browser, kind: str) -> None:
    info = replace(INFO, versions={"pillow": pillow_version}, preprocessing=Preprocessing(96))
    browser.load(seal_onnx(colours_model(), info))
    photo = encoded(ASTRONAUT, kind, 6 if kind in TURNED else 1)
    wanted = preprocess(decode(photo, path="photo"), info.preprocessing).astype(int)
    allowed = next((levels for name, levels in CONVERTED.items() if kind.endswith(name)), 0)
    assert np.abs(browser.pixels(photo) - wanted).max() <= allowed


RESIZE = """async ([width, height, cases]) => {
    const { resize } = await import('./resample.js');
    const photo = new Uint8Array(await (await fetch('raw')).arrayBuffer());
    const read = (left, top, columns, rows) => {
        const part = new Uint8Array(4 * columns * rows);
        for (let row = 0; row < rows; row++) {
            const at = 4 * ((top + row) * width + left);
            part.set(photo.subarray(at, at + 4 * columns), 4 * row * columns);
        }
        return part;
    };
    return cases.map(([box, columns, rows, filter, pillow]) =>
        Array.from(resize(read, width, height, box, columns, rows, filter, pillow)));
}"""


@pytest.mark.parametrize(
    ("width", "height"), [(179, 282), (300, 200), (40, 1000), (700, 400), (7, 5), (1, 1)]
)
def test_resizing_gives_pillows_bytes(browser: Browser, width: int, height: int) -> None:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    browser.served["raw"] = pixels.tobytes()
    image = Image.fromarray(pixels[..., :3])
    side = 0.875 * min(width, height)
    centre = [(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2]
    whole = [0, 0, width, height]
    cases = [
        (box, columns, rows, filter_, int(pillow_version.partition(".")[0]))
        for filter_ in ("nearest", "bilinear", "bicubic", "lanczos")
        for box, columns, rows in ((centre, 32, 32), (whole, 64, 48), (whole, 20, 90), (whole, width, 30))
    ]
    found = browser.page.evaluate(RESIZE, [width, height, cases])
    for (box, columns, rows, filter_, _), values in zip(cases, found, strict=True):
        wanted = image.resize((columns, rows), Image.Resampling[filter_.upper()], box=tuple(box))
        assert bytes(values) == wanted.tobytes(), (box, columns, rows, filter_)


def answering(outputs: dict[str, tuple[int, ...]], size_px: int) -> bytes:
    """Return a network whose outputs are sums of a photo's mean colours, each of red, green or blue."""
    node, value, float32 = onnx.helper.make_node, onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        node("Cast", ["images"], ["floats"], to=float32),
        node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
        node("Div", ["means", "white"], ["shares"]),
    ]
    constants = [onnx.numpy_helper.from_array(np.float32(255), "white")]
    for name, channels in outputs.items():
        nodes.append(node("Gather", ["shares", f"{name}_of"], [name], axis=1))
        constants.append(onnx.numpy_helper.from_array(np.array(channels, np.int64), f"{name}_of"))
    graph = onnx.helper.make_graph(
        nodes,
        "answers",
        [value("images", onnx.TensorProto.UINT8, ["N", size_px, size_px, 3])],
        [value(name, float32, ["N", len(channels)]) for name, channels in outputs.items()],
        constants,
    )
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


# The astronaut's mean colours differ, so the answers do.
CLASSES = ("10", "9", "__proto__")
TASKS = {
    "classes, of which integers": (
        ModelInfo("classification", "own", CLASSES, Preprocessing(24), unknown_threshold=0.3),
        {"logits": (0, 1, 2), "probabilities": (2, 0, 0), "unknown": (1,)},
    ),
    "several labels": (
        ModelInfo(
            "multilabel",
            "own",
            CLASSES,
            Preprocessing(24, interpolation="lanczos"),
            thresholds=(0.1, 0.9, 0.2),
        ),
        {"logits": (0, 1, 2), "probabilities": (0, 1, 2)},
    ),
    "numbers": (
        ModelInfo(
            "regression",
            "own",
            (),
            Preprocessing(25, resize="pad"),
            targets=("age", "7"),
            scale=((0.0, 0.0), (1.0, 1.0)),
        ),
        {"numbers": (2, 0)},
    ),
    "box": (
        ModelInfo("box", "own", ("cat",), Preprocessing(24, resize="squash", interpolation="bicubic")),
        {"boxes": (2, 1, 0, 0)},
    ),
    "box with classes, in bars": (
        ModelInfo("box", "own", CLASSES, Preprocessing(33, resize="pad", interpolation="bicubic")),
        {"boxes": (2, 1, 0, 0), "logits": (0, 1, 2), "probabilities": (0, 1, 2)},
    ),
    "box in a crop": (
        ModelInfo("box", "own", ("cat",), Preprocessing(24, crop_fraction=0.8, interpolation="nearest")),
        {"boxes": (2, 1, 0, 0)},
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_pythons_answers(browser: Browser, task: str) -> None:
    info, outputs = TASKS[task]
    info = replace(info, versions={"pillow": pillow_version})
    model = seal_onnx(answering(outputs, info.preprocessing.size_px), info)
    predictor = Predictor.from_bytes(model)
    assert browser.load(model)["task"] == info.task
    for photo in (encoded(ASTRONAUT, "png"), encoded(ASTRONAUT, "jpeg", 6)):
        found = browser.predict(photo)
        same(found, in_python(predictor, photo))
        assert found["outputs"].keys() == outputs.keys()


def test_other_outputs_are_passed_on(browser: Browser) -> None:
    info, outputs = TASKS["classes, of which integers"]
    browser.load(seal_onnx(answering(outputs | {"heat_map": (1, 0, 0, 2)}, 24), info))
    found = browser.predict(encoded(ASTRONAUT, "png"))
    assert found["label"] == found["probabilities"][0]["label"] == CLASSES[1]
    assert len(found["outputs"]["heat_map"]) == 4


def test_every_kind_of_source_has_the_same_answer(browser: Browser) -> None:
    browser.load(seal_onnx(colours_model(), INFO))
    browser.served["photo"] = encoded(ASTRONAUT, "png")
    answers = browser.page.evaluate(
        """async () => {
            const model = models['model.onnx'];
            const blob = await (await fetch('photo')).blob();
            const bytes = await blob.arrayBuffer();
            const bitmap = await createImageBitmap(blob);
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            const context = canvas.getContext('2d');
            context.drawImage(bitmap, 0, 0);
            const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
            const img = Object.assign(new Image(), { src: 'photo' });
            await img.decode();
            const sources = [blob, new File([blob], 'a.png'), bytes, new Uint8Array(bytes), 'photo',
                new URL('photo', location), bitmap, canvas, pixels, img, bitmap];
            const found = await Promise.all(sources.map((each) => model.predict(each)));
            return found.map(({ label, probability }) => `${label} ${probability}`);
        }"""
    )
    assert len(answers) == 11
    assert len(set(answers)) == 1


def test_it_works_in_a_worker_and_asks_for_nothing_elsewhere(browser: Browser) -> None:
    browser.served["model.onnx"] = seal_onnx(colours_model(), INFO)
    browser.served["photo"] = encoded(Image.new("RGB", (40, 30), "blue"), "png")
    browser.served["worker.js"] = b"""
        import * as ort from './ort/ort.wasm.min.mjs';
        import { loadModel } from './headstart-web.js';
        const model = await loadModel('model.onnx', { ort });
        const { label } = await model.predict('photo');
        await model.close();
        postMessage(label);
    """
    label = browser.page.evaluate(
        """() => new Promise((resolve, reject) => {
            const worker = new Worker('worker.js', { type: 'module' });
            worker.onmessage = (event) => resolve(event.data);
            worker.onerror = (event) => reject(new Error(event.message));
        })"""
    )
    assert label == "blue"
    assert all(address.startswith((browser.site, f"blob:{browser.site}")) for address in browser.requests)


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    ASTRONAUT.save(file, kind)
    return file.getvalue()


JPEG = encoded(ASTRONAUT, "jpeg")
PNG = encoded(ASTRONAUT, "png")
BAD_PHOTOS = {
    "TIFF, which this browser cannot decode: save it as JPEG or PNG": saved("TIFF"),
    "PPM, which this browser cannot decode": saved("PPM"),
    "JPEG 2000, which this browser cannot decode": saved("JPEG2000"),
    "truncated or damaged JPEG": JPEG[: len(JPEG) // 2],
    "truncated or damaged PNG": PNG[:100] + bytes([PNG[100] ^ 1]) + PNG[101:],
    "truncated or damaged WebP": encoded(ASTRONAUT, "webp")[:2000],
    "empty file": b"",
    "an HTML or SVG page, not a photo": b"<!doctype html><title>404</title>",
    "not an image in a format that can be read (JPEG, PNG, WebP, GIF, BMP, AVIF)": b"a text",
}


@pytest.mark.parametrize("message", BAD_PHOTOS)
def test_what_cannot_be_decoded_has_a_message(browser: Browser, message: str) -> None:
    browser.load(seal_onnx(colours_model(), INFO))
    with pytest.raises(Error, match="PhotoError") as raised:
        browser.predict(BAD_PHOTOS[message])
    assert message in str(raised.value)


def test_an_address_without_a_photo_has_a_message(browser: Browser) -> None:
    browser.load(seal_onnx(colours_model(), INFO))
    with pytest.raises(Error, match=r"PhotoError: nothing\.jpg cannot be fetched: 404"):
        browser.page.evaluate("models['model.onnx'].predict('nothing.jpg')")
    browser.served["notes.txt"] = b"a text"
    with pytest.raises(Error, match=r"PhotoError: notes\.txt: not an image in a format"):
        browser.page.evaluate("models['model.onnx'].predict('notes.txt')")
    with pytest.raises(Error, match="PhotoError: This is not a photo"):
        browser.page.evaluate("models['model.onnx'].predict(42)")


SEALED = seal_onnx(colours_model(), INFO)
NEWER = seal_onnx(colours_model(), replace(INFO, format=999))
BAD_MODELS = {
    "is damaged: its content does not match its checksum": SEALED[:100]
    + bytes([SEALED[100] ^ 1])
    + SEALED[101:],
    "was written by a newer Headstart, in format 999": NEWER,
    "is not a Headstart model, or is cut short": SEALED[:-1],
    "is not a Headstart model": colours_model(),
    "bad.onnx is not a Headstart model": b"<!doctype html>",
    "onnxruntime-web cannot run it": seal_onnx(b"\x08\x08", INFO),
}


@pytest.mark.parametrize("message", BAD_MODELS)
def test_what_is_not_a_model_has_a_message(browser: Browser, message: str) -> None:
    with pytest.raises(Error, match="HeadstartError") as raised:
        browser.load(BAD_MODELS[message], "bad.onnx")
    assert message in str(raised.value)


def test_a_model_can_be_loaded_from_its_bytes(browser: Browser) -> None:
    text = base64.b64encode(SEALED).decode()
    names = browser.page.evaluate(
        """async (text) => {
            const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
            const found = [];
            for (const source of [bytes, bytes.buffer, new Blob([bytes])]) {
                const model = await web.loadModel(source, { ort });
                found.push(model.classNames);
                await model.close();
            }
            return found;
        }""",
        text,
    )
    assert names == [list(INFO.class_names)] * 3
    with pytest.raises(Error, match="Give the module onnxruntime-web"):
        browser.page.evaluate("web.loadModel('model.onnx')")


def test_a_large_photo_is_read_in_strips(browser: Browser) -> None:
    """A tall photo, whose height is reduced first since Pillow 13, and a wide one."""
    info = replace(INFO, versions={"pillow": pillow_version})
    browser.load(seal_onnx(colours_model(), info))
    for size in ((1100, 2500), (2600, 900)):
        photo = encoded(Image.fromarray(data.astronaut()).resize(size), "jpeg")
        wanted = preprocess(decode(photo, path="photo"), info.preprocessing)
        assert np.array_equal(browser.pixels(photo), wanted)
