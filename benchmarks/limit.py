"""The least that a pass over photos can take: decoding and the network on cores that never wait.

Run by ``benchmarks.compare`` as a process of its own. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from torch import nn

from headstart.cores import num_cores
from headstart.data.sources.folder import read_folder
from headstart.images.file import read_file
from headstart.images.preprocess import load_pixels
from headstart.inference.runtime import map_images, open_session
from headstart.model.backbones import resolve
from headstart.model.normalise import Normalise
from headstart.model.stages import cut
from headstart.model.to_onnx import to_onnx
from headstart.model.weights import create_pretrained


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="default")
    arguments = parser.parse_args()

    backbone = resolve(arguments.backbone)
    network, _ = create_pretrained(backbone, arguments.weights)
    settings = backbone.preprocessing
    module = nn.Sequential(Normalise(settings), cut(network.eval(), "head")[0]).eval()
    example = torch.zeros(2, settings.size_px, settings.size_px, 3, dtype=torch.uint8)
    session = open_session(to_onnx(module, example, output_names=["y"]))
    paths = [candidate.path for candidate in read_folder(arguments.data).candidates]

    def load(path: str) -> np.ndarray:
        return load_pixels(read_file(path), settings, path=path)

    def compute(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {"images": pixels})[0])

    begun = time.process_time()
    pixels = [load(path) for path in paths]
    decode_seconds = time.process_time() - begun
    begun = time.process_time()
    for start in range(0, len(pixels) - 3, 4):
        compute(np.stack(pixels[start : start + 4]))
    network_seconds = (time.process_time() - begun) * len(pixels) / (len(pixels) // 4 * 4)
    del pixels
    begun = time.perf_counter()
    for _ in map_images(paths, load, compute, batch_size=4):
        pass
    pass_seconds = time.perf_counter() - begun
    limit = (decode_seconds + network_seconds) / num_cores()
    print(
        json.dumps(
            {
                "photos": len(paths),
                "decode_cpu_seconds": decode_seconds,
                "network_cpu_seconds": network_seconds,
                "limit_seconds": limit,
                "pass_seconds": pass_seconds,
                "pass_over_limit": pass_seconds / limit,
            }
        )
    )


if __name__ == "__main__":
    main()
