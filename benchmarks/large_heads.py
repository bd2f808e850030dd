"""Heads on more features than memory should hold: ways to find them, with their time, memory and scores.

``python -m benchmarks.large_heads SCRATCH`` makes 200,000 rows of 1,280 numbers up. With ``--photos
FOLDER...``, the rows are the default backbone's features of the photos below, whose class is the path of
their folder, and with ``--rows`` those of augmented views. Each method is a process of its own. Penalties and
temperatures of ridge regression and discriminant analysis, and all other temperatures, are chosen on one half
of the test rows for the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from headstart import recipe
from headstart.blas import one_blas_thread
from headstart.frozen.backbones import find_backbone
from headstart.frozen.prefix import OnnxPrefix
from headstart.images.decode import decode_photo
from headstart.images.formats import is_meant_as_image
from headstart.images.preprocess import preprocess
from headstart.probe import solve
from headstart.probe.file_rows import FileRows
from headstart.tasks.calibration import best_temperature
from headstart.tasks.losses import cross_entropy
from headstart.views.augmentation import Augmentation

_AT_ONCE: Final = 4096
_STRENGTHS: Final = [10.0**power for power in range(-7, 1)]

Heads = list[tuple[np.ndarray, np.ndarray]]
"""Candidates: weight (K, D) and bias (K,)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--photos", type=Path, nargs="+", default=[])
    parser.add_argument("--rows", type=int, help="[200,000; of photos, one per photo]")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--method", help="used by the script itself")
    arguments = parser.parse_args()
    if arguments.method:
        print(json.dumps(_measured(arguments.scratch, arguments.method)))
        return
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    if not (arguments.scratch / "labels-test.npy").exists():
        if arguments.photos:
            _write_photos(arguments.scratch, arguments.photos, arguments.rows or 0, arguments.size_px)
        else:
            _make_up(arguments.scratch, arguments.rows or 200_000, arguments.width, arguments.classes)
    rows = np.load(arguments.scratch / "rows-train.npy", mmap_mode="r")
    test = np.load(arguments.scratch / "labels-test.npy")
    print(f"{rows.shape[0]:,} rows of {rows.shape[1]:,}, {test.max() + 1} classes, {len(test):,} test rows")
    print(
        "| | s | CPU s | peak MB | accuracy | log loss | with a temperature |\n|---|---|---|---|---|---|---|"
    )
    for method in arguments.methods.split(","):
        command = [sys.executable, "-m", "benchmarks.large_heads", str(arguments.scratch), "--method", method]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        numbers = (f"{found[name]:.{digits}f}" for name, digits in _SHOWN.items())
        print(f"| {method} | {' | '.join(numbers)} |", flush=True)


_SHOWN: Final = {"seconds": 0, "cpu": 0, "peak_mb": 0, "accuracy": 4, "loss": 4, "calibrated": 4}


def _measured(scratch: Path, method: str) -> dict[str, float]:
    """Find heads, and score the best of them."""
    began, cpu_began = time.perf_counter(), time.process_time()
    labels, units = (np.load(scratch / f"{name}-train.npy") for name in ("labels", "units"))
    with one_blas_thread():
        heads = METHODS[method](scratch, labels, units)
    found = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu_began,
        "peak_mb": _peak_mb(),
    }
    rows, labels = np.load(scratch / "rows-test.npy", mmap_mode="r"), np.load(scratch / "labels-test.npy")
    return found | _scores([rows @ weight.T + bias for weight, bias in heads], labels)


def _peak_mb() -> float:
    """Return the peak of the resident memory, of Linux: ``getrusage`` includes that of the parent process."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _scores(logits: Sequence[np.ndarray], labels: np.ndarray) -> dict[str, float]:
    """Return the scores of each half by the candidate and the temperature that are best for the other."""
    is_first = np.arange(len(labels)) % 2 == 0
    parts: list[tuple[np.ndarray, ...]] = []
    for is_own in (is_first, ~is_first):
        of_candidates = []
        for each in logits:
            temperature = best_temperature(each[~is_own], labels[~is_own])
            loss = cross_entropy(each[~is_own] / temperature, labels[~is_own]).mean()
            of_candidates.append((loss, temperature))
        chosen = min(range(len(logits)), key=lambda number: of_candidates[number][0])
        own, truth = logits[chosen][is_own], labels[is_own]
        calibrated = cross_entropy(own / of_candidates[chosen][1], truth)
        parts.append((own.argmax(1) == truth, cross_entropy(own, truth), calibrated))
    accuracy, loss, calibrated = (float(np.concatenate(each).mean()) for each in zip(*parts, strict=True))
    return {"accuracy": accuracy, "loss": loss, "calibrated": calibrated}


def _blocks(scratch: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows in blocks, read one after the other, with the number of the first."""
    num_rows, width = np.load(scratch / "rows-train.npy", mmap_mode="r").shape
    with open(scratch / "rows-train.npy", "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        for first in range(0, num_rows, _AT_ONCE):
            count = min(_AT_ONCE, num_rows - first) * width
            yield first, np.fromfile(file, np.float32, count).reshape(-1, width)


def _solved(rows: np.ndarray | FileRows, labels: np.ndarray, units: np.ndarray) -> Heads:
    head = solve.solve_head(rows, labels, units, "classes", int(labels.max()) + 1)
    print(f"penalty {head.penalties[0]:.3g}", file=sys.stderr)
    return [(head.weight, head.bias)]


def _in_memory(scratch: Path, labels: np.ndarray, units: np.ndarray) -> Heads:
    """Choose the penalty on all rows, as for few photos."""
    recipe.SOME_ROWS_BYTES = 2**62
    return _solved(np.load(scratch / "rows-train.npy"), labels, units)


def _from_file(scratch: Path, labels: np.ndarray, units: np.ndarray) -> Heads:
    shape = np.load(scratch / "rows-train.npy", mmap_mode="r").shape
    rows = FileRows((shape[0], shape[1]), scratch)
    for first, block in _blocks(scratch):
        rows[first : first + len(block)] = block
    return _solved(rows, labels, units)


def _statistics(scratch: Path, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return counts (K,), mean (D,), class sums of centred rows (K, D), and scatter (D, D): one pass."""
    one_hot = np.eye(int(labels.max()) + 1, dtype=np.float32)
    sums = scatter = shift = None
    for first, block in _blocks(scratch):
        if shift is None:
            shift = block.mean(0)
            sums, scatter = (np.zeros((len(each), len(shift))) for each in (one_hot, shift))
        block -= shift  # so that nothing large cancels out
        sums += one_hot[labels[first : first + len(block)]].T @ block
        scatter += block.T @ block
    assert shift is not None
    assert sums is not None
    assert scatter is not None
    counts = np.bincount(labels, minlength=len(one_hot))
    mean = sums.sum(0) / len(labels)
    sums -= counts[:, None] * mean
    scatter -= len(labels) * np.outer(mean, mean)
    return counts, shift + mean, sums, scatter


def _ridge(scratch: Path, labels: np.ndarray, units: np.ndarray) -> Heads:
    """Regress 0 and 1 per class on the rows: one pass."""
    counts, mean, sums, scatter = _statistics(scratch, labels)
    heads = []
    for strength in _STRENGTHS:
        penalised = scatter + strength * np.trace(scatter) / len(mean) * np.eye(len(mean))
        weight = np.linalg.solve(penalised, sums.T).T
        heads.append((weight, counts / len(labels) - weight @ mean))
    return heads


def _discriminant(scratch: Path, labels: np.ndarray, units: np.ndarray) -> Heads:
    """Linear discriminant analysis, from the same statistics."""
    counts, mean, sums, scatter = _statistics(scratch, labels)
    centres = sums / counts[:, None]
    within = (scatter - centres.T @ sums) / len(labels)
    heads = []
    for strength in _STRENGTHS:
        shrunk = within + strength * np.trace(within) / len(mean) * np.eye(len(mean))
        weight = np.linalg.solve(shrunk, centres.T).T
        bias = np.log(counts / len(labels)) - (weight * centres).sum(1) / 2
        heads.append((weight, bias - weight @ mean))
    return heads


def _steps(scratch: Path, labels: np.ndarray, units: np.ndarray) -> Heads:
    """Adam as in the recipe of heads that cannot be solved: ten epochs of steps of 32 rows."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    rows = torch.from_numpy(np.load(scratch / "rows-train.npy", mmap_mode="c"))
    targets, num_epochs, batch_size = torch.from_numpy(labels), 10, 32
    head = nn.Linear(rows.shape[1], int(labels.max()) + 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    num_steps = num_epochs * -(-len(rows) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(num_epochs):
        for chosen in torch.randperm(len(rows), generator=generator).split(batch_size):
            loss = nn.functional.cross_entropy(head(rows[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return [(head.weight.detach().numpy(), head.bias.detach().numpy())]


METHODS: Final[dict[str, Callable[[Path, np.ndarray, np.ndarray], Heads]]] = {
    "ridge": _ridge,
    "discriminant": _discriminant,
    "file": _from_file,
    "steps": _steps,
    "memory": _in_memory,
}


def _make_up(scratch: Path, num_rows: int, width: int, num_classes: int) -> None:
    """Write rows like the means of a last stage: not negative, correlated, of classes that overlap."""
    generator = np.random.default_rng(0)
    spectrum = (1 + np.arange(width)) ** -0.5
    mixing = np.linalg.qr(generator.standard_normal((width, width)))[0].astype(np.float32)
    scale = (spectrum * np.sqrt(width / np.square(spectrum).sum())).astype(np.float32)
    centres = generator.standard_normal((num_classes, width)).astype(np.float32) * _DISTANCE
    for part, number in (("train", num_rows), ("test", 20_000)):
        labels = generator.integers(0, num_classes, number)
        rows = np.lib.format.open_memmap(
            scratch / f"rows-{part}.npy", "w+", np.float32, (number, width), version=(1, 0)
        )
        for first in range(0, number, _AT_ONCE):
            noise = generator.standard_normal((min(_AT_ONCE, number - first), width), np.float32)
            values = (centres[labels[first : first + len(noise)]] + noise) * scale @ mixing
            rows[first : first + len(noise)] = np.maximum(values, 0)
        rows.flush()
        _write_labels(scratch, part, labels, np.arange(number))


_DISTANCE: Final = 0.13


def _write_labels(scratch: Path, part: str, labels: np.ndarray, units: np.ndarray) -> None:
    np.save(scratch / f"units-{part}.npy", units)
    np.save(scratch / f"labels-{part}.npy", labels)


def _write_photos(scratch: Path, folders: Sequence[Path], num_rows: int, size_px: int) -> None:
    """Write features: of every fourth photo as it is, for testing, and of the others or their views."""
    content = {}  # without exact copies
    for path in (each for folder in folders for each in sorted(folder.rglob("*"))):
        if is_meant_as_image(str(path)):
            data = path.read_bytes()
            content.setdefault(hashlib.sha256(data).hexdigest(), (path, data))
    photos = [(*each, sha256) for sha256, each in content.items()]
    class_of = {
        path: tuple(n for n in path.parent.parts if n not in ("train", "val")) for path, _, _ in photos
    }
    names = sorted(set(class_of.values()))
    backbone = find_backbone("timm/tf_efficientnet_lite0", size_px=size_px)
    assert backbone is not None
    prefix, augmentation = OnnxPrefix(backbone.graph), Augmentation("light", 0)
    train = [photo for number, photo in enumerate(photos) if number % 4]
    numbers = range(1, -(-num_rows // len(train)) + 1) if num_rows else range(1)
    for part, of_part, views in (("train", train, numbers), ("test", photos[::4], range(1))):
        rows, labels, units = [], [], []
        for unit, (path, data, sha256) in enumerate(of_part):
            image = decode_photo(data, path=str(path), reduce_to_px=4 * size_px).image
            pixels = [
                preprocess(image, backbone.preprocessing, augmentation.view(sha256, view) if view else None)
                for view in views
            ]
            for first in range(0, len(pixels), prefix.batch_size):
                some = pixels[first : first + prefix.batch_size]
                batch = np.stack([*some, *[some[0]] * (prefix.batch_size - len(some))])
                rows += [*prefix(batch)[: len(some)]]
            labels += [names.index(class_of[path])] * len(pixels)
            units += [unit] * len(pixels)
        np.save(scratch / f"rows-{part}.npy", np.stack(rows))
        _write_labels(scratch, part, np.array(labels), np.array(units))


if __name__ == "__main__":
    main()
