"""A test vector: one photo with its pixels and outputs at every step, for programs in other languages."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from PIL import Image
from PIL import __version__ as pillow_version

from headstart.files import write_whole
from headstart.images.decode import decode_photo
from headstart.images.photo import Photo
from headstart.images.preprocess import preprocess
from headstart.inference.model_file import ModelInfo, open_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import CPU, open_session
from headstart.products.new_folder import new_folder

# Neither square nor of even sides, so that rounding errors in crops show.
_WIDTH_PX: Final = 321
_HEIGHT_PX: Final = 243
_CELL_PX: Final = 27


def write_test_vector(predictor: Predictor, folder: Path, photo: Photo | None = None) -> None:
    """Write a photo, its pixels at network size, and the model's outputs as plain files.

    The photo is decoded in full, as other programs do it. Large JPEGs are otherwise decoded at reduced scale,
    so ``predict`` may answer a little differently.

    Args:
        predictor: A model that was loaded from a file.
        folder: Created if it does not exist; it must be empty.
        photo: The photo; None for one that is made from a seed, and is the same everywhere.

    Raises:
        UsageError: The folder is not empty, or is a file.
        ImageError: The photo cannot be read.
        FileWriteError: The files cannot be written.
    """
    assert predictor.path is not None
    model, info = open_onnx(predictor.path)
    content = _png(_made_photo()) if photo is None else photo.content()
    decoded = decode_photo(content, path="photo.png" if photo is None else photo.key)
    pixels = preprocess(decoded.image, info.preprocessing)
    session = open_session(model, CPU)
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {"images": pixels[np.newaxis]})
    outputs = {name: values[0] for name, values in zip(names, found, strict=True)}
    (prediction,) = Predictor(model, info, providers=CPU).predict(np.asarray(decoded.image))

    photo_name = f"photo.{decoded.format.lower()}"
    said = dataclasses.asdict(prediction)
    answer = {name: value for name, value in said.items() if name not in ("path", "error", "heat_map")}
    files: dict[str, bytes | str] = {
        photo_name: content,
        "decoded.png": _png(decoded.image),
        "pixels.png": _png(Image.fromarray(pixels)),
        "pixels.bin": pixels.tobytes(),
        **{f"{name}.bin": values.astype("<f4").tobytes() for name, values in outputs.items()},
        "outputs.json": _json({name: values.tolist() for name, values in outputs.items()}),
        "outputs.csv": _table(outputs, info),
        "prediction.json": _json(answer),
        "model.json": _json(json.loads(info.to_json())),
    }
    files["README.md"] = _readme(photo_name, is_made=photo is None, info=info, outputs=outputs)
    with new_folder(folder):
        for name, text in files.items():
            write_whole(folder / name, text)


def _made_photo() -> Image.Image:
    """Return a photo of coloured cells with a gradient and noise, from integers and one seed."""
    generator = np.random.Generator(np.random.Philox(0))
    shape = (_HEIGHT_PX, _WIDTH_PX, 3)
    cells = generator.integers(0, 200, (-(-shape[0] // _CELL_PX), -(-shape[1] // _CELL_PX), 3))
    pixels = cells.repeat(_CELL_PX, 0).repeat(_CELL_PX, 1)[: shape[0], : shape[1]]
    pixels += np.arange(shape[1])[:, np.newaxis] * 40 // shape[1]
    return Image.fromarray((pixels + generator.integers(0, 16, shape)).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


def _table(outputs: dict[str, np.ndarray], info: ModelInfo) -> str:
    """Return one row per value: the output, the index in it, its class or target, and the value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["output", "index", "name", "value"])
    for output, values in outputs.items():
        names = info.targets if output == "numbers" else info.class_names
        flat = values.ravel().tolist()
        for index, value in enumerate(flat):
            has_name = len(flat) == len(names) and output in ("numbers", "logits", "probabilities")
            writer.writerow([output, index, names[index] if has_name else "", f"{value:.9g}"])
    return file.getvalue()


def _readme(photo_name: str, *, is_made: bool, info: ModelInfo, outputs: dict[str, np.ndarray]) -> str:
    side = info.preprocessing.size_px
    origin = "made by Headstart from a seed; the same for every model" if is_made else "as it was given"
    rows = {
        photo_name: f"the photo, {origin}",
        "decoded.png": "its pixels after decoding: upright, in sRGB, on white",
        "pixels.png": f"the network's input, {side} × {side}, according to `preprocessing` in model.json",
        "pixels.bin": "the same as bytes without a header: rows of pixels of red, green and blue",
        **{
            f"{name}.bin": f"the output `{name}`, {' × '.join(map(str, values.shape))} float32, little-endian"
            for name, values in outputs.items()
        },
        "outputs.json, outputs.csv": "all outputs as text",
        "prediction.json": "the prediction that follows from them",
        "model.json": "the description in model.onnx (its metadata `headstart`)",
    }
    table = "\n".join(f"| {name} | {content} |" for name, content in rows.items())
    return f"""# Test vector of a Headstart model

One photo at every step from its file to the prediction, to check a program in another language. Compare one
step at a time: decode the photo and compare with decoded.png; resize decoded.png and compare with pixels.bin;
compute on pixels.bin and compare with the outputs. docs/reference/other-languages.md of Headstart describes
the steps.

| file | content |
|---|---|
{table}

- Decoding a PNG gives exactly these pixels. Other JPEG decoders differ by a few grey levels.
- Resizing gives exactly these pixels if it computes as Pillow {pillow_version} does. The same filter in
  floating point differs by one grey level.
- The outputs are those of ONNX Runtime {onnxruntime.__version__} on a CPU. Other versions and processors
  may differ in the sixth digit of a logit.
- The photo was decoded at full size. `headstart predict` decodes large JPEGs at reduced size, so its
  prediction may differ a little.
"""
