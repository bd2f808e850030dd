"""Runs a model file in one runtime: started by ``benchmarks.runtimes`` in an environment of its own.

    python one_runtime.py MODEL PIXELS.npz OUT.npz BATCH_SIZE TYPE

Needs only NumPy and either onnxruntime or cv2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

Run = Callable[[np.ndarray], list[np.ndarray]]


def opened(model: str, names: list[str]) -> tuple[str, Run]:
    """Return the version of the runtime, and a function from images to the outputs of these names."""
    try:
        import onnxruntime
    except ImportError:
        import cv2

        network = cv2.dnn.readNetFromONNX(model)

        def by_opencv(images: np.ndarray) -> list[np.ndarray]:
            network.setInput(images, "images")
            return list(network.forward(names))

        return f"OpenCV {cv2.__version__}", by_opencv
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return f"ONNX Runtime {onnxruntime.__version__}", lambda images: session.run(names, {"images": images})


def main() -> None:
    """Write the outputs for all pixels, one array for each output."""
    model, pixels, out, batch_size, kind = sys.argv[1:]
    with np.load(pixels) as file:
        images, names = file["images"].astype(kind), file["names"].tolist()
    version, run = opened(model, names)
    print(version, flush=True)
    step = int(batch_size)
    batches = [run(images[at : at + step]) for at in range(0, len(images), step)]
    outputs = {
        name: np.concatenate([np.asarray(batch[index]) for batch in batches])
        for index, name in enumerate(names)
    }
    np.savez(out, **outputs)


if __name__ == "__main__":
    main()
