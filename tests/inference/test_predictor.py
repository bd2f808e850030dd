from __future__ import annotations

import copy
import dataclasses
import io
import itertools
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from colours import INFO, colours_model
from headstart.data.sources.folder import read_folder
from headstart.errors import DamagedFileError, HeadstartError, InputError, RunFolderError, UsageError
from headstart.images.listed import find_images
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels
from headstart.inference.model_file import seal_onnx
from headstart.inference.predictor import Predictor, load
from headstart.tasks.prediction import Prediction


@pytest.fixture(scope="module")
def model() -> bytes:
    return seal_onnx(colours_model(), INFO)


@pytest.fixture(scope="module")
def predictor(model: bytes) -> Predictor:
    return Predictor.from_bytes(model)


@pytest.fixture
def run(tmp_path: Path, model: bytes) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").touch()
    (folder / "model.onnx").write_bytes(model)
    return folder


def photo(colour: str, size: tuple[int, int] = (20, 30)) -> Image.Image:
    return Image.new("RGB", size, colour)


def png(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("where", ["folder", "file", "text"])
def test_a_run_folder_or_its_model_is_loaded(run: Path, where: str) -> None:
    path = {"folder": run, "file": run / "model.onnx", "text": str(run)}[where]
    predictor = load(path)
    assert predictor.info == INFO
    assert predictor.class_names == ("red", "green", "blue")


def test_a_predictor_says_what_it_predicts(run: Path) -> None:
    predictor = load(run)
    names = ", ".join(predictor.class_names)
    assert repr(predictor) == f"<Predictor: classification of {names}; {predictor.info.backbone}>"


def test_a_run_by_its_bare_name_is_looked_for_where_training_makes_it(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copytree(run, tmp_path / "runs" / "photos")
    with pytest.raises(RunFolderError, match=r"'photos'\..*Models in 'runs': runs/photos\."):
        load("photos")
    for number in range(10, 30):
        (tmp_path / "runs" / f"a{number}").mkdir()
        (tmp_path / "runs" / f"a{number}" / "model.onnx").touch()
    with pytest.raises(RunFolderError, match=r"runs/a18, runs/a19, \.\.\.\.$"):
        load("photos")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (
            "unfinished",
            RunFolderError,
            r"headstart export .*unfinished --to onnx .needs headstart",
        ),
        ("stopped", RunFolderError, r"did not finish\. Finish it first: headstart resume .*stopped$"),
        ("photos", RunFolderError, r"photos is not a run folder.*No models are in '.*photos'\."),
        ("", RunFolderError, r"is not a run folder.*Models in .*: .*run\."),
        ("rum", RunFolderError, r"no file or folder '.*rum'\..*headstart train.*Models in .*: .*run\."),
        ("far/away", RunFolderError, r"There is no file or folder '.*away'\..*No models are in .*far"),
        ("photos/a.jpg", UsageError, r"a\.jpg is not a Headstart model"),
        ("run/config.toml", UsageError, r"config\.toml is not a Headstart model"),
        ("damaged.onnx", DamagedFileError, r"damaged\.onnx is damaged"),
    ],
)
def test_what_is_no_model_is_an_error_that_says_what_to_do(
    path: str, error: type[Exception], message: str, tmp_path: Path, run: Path
) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.toml").touch()
    (tmp_path / "stopped" / "checkpoints").mkdir(parents=True)
    (tmp_path / "stopped" / "config.toml").touch()
    (tmp_path / "photos").mkdir()
    photo("red").save(tmp_path / "photos" / "a.jpg")
    content = bytearray((run / "model.onnx").read_bytes())
    content[100] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(error, match=message):
        load(tmp_path / path)


def test_a_model_that_the_onnx_runtime_cannot_run_is_an_error_with_both_versions() -> None:
    with pytest.raises(HeadstartError, match=r"(?s)ONNX Runtime .* cannot run it.*made with 0\.1"):
        Predictor.from_bytes(seal_onnx(colours_model("OperatorOfTheFuture"), INFO))


def test_one_photo_gives_a_list_of_one(predictor: Predictor) -> None:
    (prediction,) = predictor.predict(np.full((16, 16, 3), (51, 102, 0), np.uint8))
    expected = np.exp([1, 2, 0]) / np.exp([1, 2, 0]).sum()
    assert prediction == Prediction(
        path=None,
        label="green",
        probability=pytest.approx(expected[1]),
        probabilities=pytest.approx(dict(zip(INFO.class_names, expected, strict=True))),
        error=None,
    )
    assert list(prediction.probabilities) == ["green", "red", "blue"]


@pytest.mark.parametrize(
    ("top_k", "names"), [(1, ["green"]), (2, ["green", "red"]), (9, ["green", "red", "blue"])]
)
def test_top_k_keeps_the_most_probable_classes(predictor: Predictor, top_k: int, names: list[str]) -> None:
    (prediction,) = predictor.predict(np.full((16, 16, 3), (51, 102, 0), np.uint8), top_k=top_k)
    assert list(prediction.probabilities) == names
    assert prediction.label == "green"


def test_equally_probable_classes_stay_in_their_order(predictor: Predictor) -> None:
    (prediction,) = predictor.predict(photo("grey"))
    assert list(prediction.probabilities) == ["red", "green", "blue"]


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_must_be_positive(predictor: Predictor, top_k: int) -> None:
    with pytest.raises(UsageError, match=f"top_k is {top_k}"):
        predictor.predict_iter([], top_k=top_k)


def test_the_same_photo_in_every_form_gives_the_same_prediction(predictor: Predictor, tmp_path: Path) -> None:
    pixels = noise(0)
    path = tmp_path / "photo.png"
    path.write_bytes(png(Image.fromarray(pixels)))
    lazy = Image.open(path)
    forms = [path, str(path), path.read_bytes(), Image.fromarray(pixels), lazy, lazy, pixels]
    predictions = predictor.predict(forms)
    assert [prediction.path for prediction in predictions] == [str(path)] * 2 + [None] * 5
    assert all(prediction.error is None for prediction in predictions)
    assert len({tuple(prediction.probabilities.items()) for prediction in predictions}) == 1


def pillow_images() -> dict[str, Image.Image]:
    colours = Image.fromarray(noise(1))
    grey_16 = Image.fromarray(np.linspace(0, 65535, 24 * 24).reshape(24, 24).astype(np.uint16))
    transparent = colours.copy()
    transparent.putalpha(Image.linear_gradient("L").resize((24, 24)))
    palette = colours.quantize(16)
    palette.info["transparency"] = 3
    exchanged = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"????"), (b"bXYZ", b"rXYZ"), (b"????", b"bXYZ")):
        exchanged = exchanged.replace(old, new)
    with_profile = colours.copy()
    with_profile.info["icc_profile"] = exchanged
    return {
        "colours of a profile": with_profile,
        "grey": colours.convert("L"),
        "grey and alpha": transparent.convert("LA"),
        "alpha": transparent,
        "palette with transparency": palette,
        "black and white": colours.convert("1"),
        "16-bit": grey_16,
        "32-bit": grey_16.convert("I"),
        "floating-point": Image.fromarray(np.linspace(0, 1, 24 * 24, dtype=np.float32).reshape(24, 24)),
        "CMYK": colours.convert("CMYK"),
    }


@pytest.mark.parametrize("kind", pillow_images())
def test_pillow_images_of_any_mode_are_treated_as_their_files(kind: str, predictor: Predictor) -> None:
    image = pillow_images()[kind]
    file = io.BytesIO()
    image.save(file, "TIFF" if kind in ("32-bit", "floating-point", "CMYK") else "PNG")
    from_image, from_file = predictor.predict([image, file.getvalue()])
    assert from_file.error is None
    assert from_image == from_file
    if kind == "colours of a profile":
        assert from_image != predictor.predict(noise(1))[0]


def test_pillow_images_are_turned_upright(predictor: Predictor) -> None:
    # The centre crop of the upright photo shows both colours.
    image = Image.new("RGB", (40, 20), "red")
    image.paste("blue", (0, 0, 20, 20))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, "PNG", exif=exif)
    from_image, from_file = predictor.predict([Image.open(file), file.getvalue()])
    assert from_image == from_file


def test_a_photo_that_cannot_be_read_is_a_row_with_its_error(predictor: Predictor, tmp_path: Path) -> None:
    good = png(photo("blue"))
    truncated = good[: len(good) // 2]
    (tmp_path / "truncated.png").write_bytes(truncated)
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "folder.jpg").mkdir()
    reason_of = {
        str(tmp_path / "truncated.png"): "truncated",
        str(tmp_path / "page.jpg"): "HTML",
        str(tmp_path / "missing.png"): "no such file",
        str(tmp_path / "folder.jpg"): "a folder",
    }
    paths = [str(tmp_path / "good.png"), *reason_of, str(tmp_path / "good.png")]
    *of_paths, of_bytes, of_image, last = predictor.predict(
        [*paths, truncated, Image.open(io.BytesIO(truncated)), good]
    )
    assert [prediction.path for prediction in of_paths] == paths
    assert of_paths[0] == of_paths[-1]
    assert of_paths[0].label == last.label == "blue"
    for prediction, (path, reason) in zip(of_paths[1:-1], reason_of.items(), strict=True):
        assert prediction == Prediction(path, error=prediction.error)
        assert reason in prediction.error
        assert path not in prediction.error
    for prediction in (of_bytes, of_image):
        assert prediction == Prediction(None, error=prediction.error)
        assert "truncated" in prediction.error


@pytest.mark.parametrize(
    ("not_a_photo", "message"),
    [
        (np.zeros((16, 16, 3), np.float32), r"float32.*\* 255"),
        (np.zeros((16, 16, 3), np.float64), r"float64.*\* 255"),
        (np.zeros((16, 16), bool), r"bool.*\* 255"),
        (np.zeros((16, 16), np.uint16), "uint16.*>> 8"),
        (np.zeros((16, 16, 3), int), "astype"),
        (np.zeros((16, 16, 3), "U3"), "must be uint8"),
        (np.zeros((2, 16, 16, 3), np.uint8), "give a list"),
        (np.zeros((16, 16, 2), np.uint8), r"\(16, 16, 2\)"),
        (np.zeros((3, 16, 16), np.uint8), "transpose"),
        (np.zeros((16,), np.uint8), r"\(16,\)"),
        (np.zeros((), np.uint8), r"\(\)"),
        (np.zeros((0, 16, 3), np.uint8), "no pixels"),
        (np.zeros((16, 0), np.uint8), "no pixels"),
        (np.zeros((0, 0, 0), np.uint8), "no pixels"),
        (np.array([], np.uint8), r"\(0,\)"),
        (torch.zeros(3, 16, 16), r"float32.*\* 255"),
        (torch.zeros(3, 16, 16, dtype=torch.bfloat16), "bfloat16"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "give a list"),
    ],
)
def test_arrays_that_are_no_photo_are_refused(
    predictor: Predictor, not_a_photo: np.ndarray | torch.Tensor, message: str
) -> None:
    for photos in (not_a_photo, [photo("red"), not_a_photo]):
        with pytest.raises(InputError, match=message):
            predictor.predict(photos)


@pytest.mark.parametrize(
    ("photos", "message"),
    [
        ([photo("red"), 3], r"photos\[1\]: 3 \(int\) is neither a photo"),
        ([None], r"photos\[0\]: None"),
        (None, "None"),
        (3, "neither a photo nor a list of photos"),
        ({"a": photo("red")}, r"list\(photos.values\(\)\)"),
        (io.StringIO("text"), "'rb'"),
        ([[photo("red")]], r"photos\[0\]"),
        (np.array([1.5, None], object), r"photos\[0\]"),
    ],
)
def test_other_objects_are_refused(predictor: Predictor, photos: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        predictor.predict(photos)
    assert isinstance(caught.value, (UsageError, TypeError))


def test_an_archive_is_not_one_of_its_photos(predictor: Predictor) -> None:
    with zipfile.ZipFile(io.BytesIO(), "w") as archive, pytest.raises(InputError, match="ZipFile"):
        predictor.predict(archive)  # type: ignore[arg-type]


def test_arrays_of_every_layout_are_read(predictor: Predictor) -> None:
    pixels, grey = noise(3), noise(4)[:, :, 0]
    alpha = np.linspace(0, 255, 24 * 24).reshape(24, 24, 1).astype(np.uint8)
    rgba = np.concatenate([pixels, alpha], 2)

    class OfAnotherLibrary:
        shape, dtype = pixels.shape, pixels.dtype

        def __array__(self, *_: Any, **__: Any) -> np.ndarray:
            return pixels

    as_rgb = [
        pixels,
        OfAnotherLibrary(),
        pixels[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray(pixels),
        torch.from_numpy(pixels),
        torch.from_numpy(pixels).permute(2, 0, 1),
        torch.from_numpy(pixels).permute(2, 0, 1).contiguous(),
    ]
    as_grey = [grey, grey[:, :, None], np.repeat(grey[:, :, None], 3, 2), torch.from_numpy(grey)[None]]
    as_rgba = [rgba, Image.fromarray(rgba), torch.from_numpy(rgba).permute(2, 0, 1)]
    for photos in (as_rgb, as_grey, as_rgba):
        first, *others = predictor.predict(photos)
        assert first.error is None
        assert others == [first] * (len(photos) - 1)


def archive(members: dict[str, bytes]) -> zipfile.ZipFile:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return zipfile.ZipFile(file)


def test_files_are_read_however_they_were_opened(predictor: Predictor, tmp_path: Path) -> None:
    data = png(Image.fromarray(noise(5)))
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    zipped = archive({"photo.png": data})
    tar_file = io.BytesIO()
    with tarfile.open(fileobj=tar_file, mode="w") as tar:
        tar.add(path, "photo.png")
    tar_file.seek(0)
    after_something_else = io.BytesIO(b"header" + data)
    after_something_else.seek(6)
    with (
        path.open("rb") as file,
        path.open("rb", buffering=0) as raw,
        zipped.open("photo.png") as member,
        tarfile.open(fileobj=tar_file) as tar,
    ):
        forms = [file, raw, member, tar.extractfile("photo.png"), zipfile.Path(zipped, "photo.png")]
        forms += [io.BytesIO(data), after_something_else, bytearray(data), memoryview(data), data]
        predictions = predictor.predict(forms)
    [of_path] = predictor.predict(path)
    assert of_path.error is None
    assert predictions == [dataclasses.replace(of_path, path=None)] * len(forms)
    assert predictor.predict(io.BytesIO(data)) == predictions[:1]


def test_what_an_open_file_cannot_give_is_a_row_with_its_error(predictor: Predictor) -> None:
    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    closed, at_its_end = io.BytesIO(b"x"), io.BytesIO(png(photo("red")))
    closed.close()
    at_its_end.read()
    damaged = archive({"a.png": png(photo("red"))})
    damaged.fp.getbuffer()[60] ^= 1  # type: ignore[union-attr]
    answers = predictor.predict([closed, at_its_end, Broken(), io.BytesIO(b"hello"), photo("red")])
    reasons = ["closed file", "seek(0)", "Input/output error", "not an image"]
    for answer, reason in zip(answers, reasons, strict=False):
        assert answer.error is not None
        assert reason in answer.error
    assert answers[-1].label == "red"
    with damaged.open("a.png") as member:
        [answer] = predictor.predict(member)
    assert answer.error is not None


def test_files_may_be_closed_and_buffers_be_used_again_once_the_next_photo_is_asked_for(
    predictor: Predictor, tmp_path: Path
) -> None:
    colours = ["red", "blue"] * 20
    for colour in ("red", "blue"):
        photo(colour).save(tmp_path / f"{colour}.png")

    def opened() -> Iterator[Any]:
        for colour in colours:
            with (tmp_path / f"{colour}.png").open("rb") as file:
                yield file

    def images() -> Iterator[Any]:
        for colour in colours:
            with Image.open(tmp_path / f"{colour}.png") as image:
                yield image

    def frames() -> Iterator[Any]:
        buffer = np.empty((30, 20, 3), np.uint8)
        for colour in colours:
            buffer[:] = np.asarray(photo(colour))
            yield buffer

    def canvas() -> Iterator[Any]:
        image = photo("red")
        for colour in colours:
            image.paste(colour, (0, 0, *image.size))
            yield image

    for photos in (opened(), images(), frames(), canvas()):
        assert [prediction.label for prediction in predictor.predict(photos)] == colours


def test_collections_of_every_kind_are_read(predictor: Predictor, tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, colour in zip(paths, ("red", "blue"), strict=True):
        photo(colour).save(path)
    texts = [str(path) for path in paths]
    collections = [paths, tuple(texts), iter(texts), np.array(texts), np.array(paths, object), deque(paths)]
    for collection in collections:
        assert [prediction.label for prediction in predictor.predict(collection)] == ["red", "blue"]
    assert predictor.predict([]) == []


COPIES: dict[str, Callable[[Predictor], Predictor]] = {
    **{
        f"pickle, protocol {protocol}": lambda each, protocol=protocol: pickle.loads(
            pickle.dumps(each, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle of a copy": lambda each: pickle.loads(pickle.dumps(copy.deepcopy(each))),
}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_answers_as_the_model_does(
    predictor: Predictor, make_copy: Callable[[Predictor], Predictor]
) -> None:
    copied = make_copy(predictor)
    photos = [noise(seed) for seed in range(4)]
    assert copied is not predictor
    assert copied.info == predictor.info
    assert copied.predict(photos) == predictor.predict(photos)


def test_a_copy_does_not_need_the_file(run: Path) -> None:
    loaded = load(run)
    content = pickle.dumps({"model": loaded})
    (run / "model.onnx").unlink()
    assert pickle.loads(content)["model"].predict(photo("red"))[0].label == "red"


def test_a_model_answers_in_other_processes_and_threads(predictor: Predictor) -> None:
    photos = [noise(seed) for seed in range(6)]
    expected = predictor.predict(photos)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(predictor.predict, [photos], chunksize=1) == [expected]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(predictor.predict, [photos] * 8)) == [expected] * 8


def test_endless_photos_are_answered_as_they_come(predictor: Predictor) -> None:
    colours = itertools.cycle([photo("red"), photo("lime"), photo("blue")])
    stream = predictor.predict_iter(colours)
    assert [prediction.label for prediction in itertools.islice(stream, 7)] == [*INFO.class_names * 2, "red"]


def test_a_photo_gives_the_same_bits_in_any_company(predictor: Predictor) -> None:
    photos = [noise(seed) for seed in range(12)]
    together = predictor.predict(photos)
    assert [predictor.predict(each)[0] for each in photos] == together
    assert predictor.predict(photos[::-1]) == together[::-1]


def test_names_that_are_not_utf8_come_back_as_they_were(predictor: Predictor, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n\xf0\x9f\x8c\xbe.png")
    (tmp_path / name).write_bytes(png(photo("lime")))
    (found,) = find_images(tmp_path)
    (prediction,) = predictor.predict(found)
    assert (prediction.path, prediction.label) == (str(tmp_path / name), "green")


def test_preprocessing_is_that_of_training(model: bytes) -> None:
    class Spy(Predictor):
        def _pixels(self, photo: Photo) -> np.ndarray:
            seen.append(super()._pixels(photo))
            return seen[-1]

    seen: list[np.ndarray] = []
    content = png(Image.fromarray(noise(2)).resize((50, 31)))
    Spy.from_bytes(model).predict(content)
    np.testing.assert_array_equal(seen[0], [load_pixels(content, INFO.preprocessing, path="photo")])


def test_photos_of_a_folder_are_found_in_order_and_as_for_training(tmp_path: Path) -> None:
    content = png(photo("red"))
    wanted = ["B.JPG", "a.png", "é.gif", "b/no-suffix", "b/x.heic", "b/c/deep.webp", "z/unreadable.jpg"]
    others = [".hidden.png", ".git/a.png", "__MACOSX/a.png", "README.txt", "b/data.csv", "Thumbs.db"]
    others += ["runs/a/config.toml", "runs/a/metrics.json", "runs/a/curves.png"]
    for name in wanted + others:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_image = name.endswith((".png", ".gif", ".JPG", "no-suffix", "webp", ".db"))
        path.write_bytes(content if is_image else b"something else")
    (tmp_path / "z" / "again").symlink_to(tmp_path / "b")
    (tmp_path / "z" / "loop").symlink_to(tmp_path)
    (tmp_path / "z" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "z" / "pipe")
    found = [str(Path(path).relative_to(tmp_path)) for path in find_images(tmp_path)]
    assert found == [*wanted[:-1], "z/gone.jpg", "z/unreadable.jpg"]
    in_training = read_folder(tmp_path, for_training=False)
    assert sorted(found) == sorted(
        str(Path(path).relative_to(tmp_path))
        for path in (*(each.path for each in in_training.candidates), *in_training.without_class)
    )


def test_a_folder_without_permission_is_a_row_with_its_error(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No permission to enter one folder, nor to list another; a superuser has both, so they are played.
    for name in ("entered/1.png", "entered/deeper/2.png", "listed/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo("red").save(tmp_path / name)
    stat, scandir = Path.stat, os.scandir

    def refuse_stat(path: Path, **keywords: Any) -> os.stat_result:
        if "entered" in path.parts[:-1]:
            raise PermissionError(13, "Permission denied")
        return stat(path, **keywords)

    def refuse_scandir(path: str) -> Any:
        if str(path).endswith("listed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(Path, "stat", refuse_stat)
    monkeypatch.setattr(os, "scandir", refuse_scandir)
    monkeypatch.setattr(os, "access", lambda *_: False)
    rows = predictor.predict(find_images(tmp_path))
    assert {str(Path(str(row.path)).relative_to(tmp_path)): row.error for row in rows} == {
        "entered/1.png": "no permission to read it",
        "entered/deeper": "no permission to read it",
        "listed": "a folder, without permission to list it",
    }
    assert list(find_images(tmp_path / "entered" / "deeper")) == [str(tmp_path / "entered" / "deeper")]


@pytest.mark.parametrize("name", ["photo.jpg", ".hidden.png", "missing.jpg", "notes.txt"])
def test_a_file_named_by_the_user_is_taken_whatever_it_is(name: str, tmp_path: Path) -> None:
    if name != "missing.jpg":
        (tmp_path / name).touch()
    assert list(find_images(tmp_path / name)) == [str(tmp_path / name)]


def test_finding_photos_is_lazy(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").touch()
    stream = find_images(tmp_path)
    assert next(stream) == str(tmp_path / "a" / "1.jpg")
    (tmp_path / "b" / "2.jpg").touch()
    assert len(list(stream)) == 2


def test_predicting_imports_only_what_the_base_install_has(run: Path, tmp_path: Path) -> None:
    photo("red").save(tmp_path / "a.png")
    program = (
        "import sys, headstart.inference.predictor\n"
        "import headstart.inference.predictions, headstart.inference.predictions_file\n"
        "(prediction,) = headstart.inference.predictor.load(sys.argv[1]).predict(sys.argv[2])\n"
        "assert prediction.label == 'red'\n"
        "print({name.partition('.')[0] for name in sys.modules} &"
        " {'torch', 'torchvision', 'timm', 'onnx', 'safetensors', 'sklearn', 'scipy', 'matplotlib'})"
    )
    command: list[Any] = [sys.executable, "-c", program, run, tmp_path / "a.png"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_messages_of_the_runtime_stay_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HeadstartError):
        Predictor.from_bytes(seal_onnx(colours_model("OperatorOfTheFuture"), INFO))
    assert capfd.readouterr().err == ""
