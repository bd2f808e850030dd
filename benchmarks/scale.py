"""What a photo costs the process that asks for a pass on a Ray cluster, and a store that machines share.

``python -m benchmarks.scale SCRATCH`` needs ``[ray,parquet,remote]``. Photos are names only, and tasks
return rows as large as those of the default backbone without computing them, so that what is left is the cost
of asking, of Ray, of receiving and of storing. docs/scale.md extrapolates from it.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from PIL import Image

from headstart.cluster import passes
from headstart.frozen.backbones import find_backbone
from headstart.frozen.elsewhere import Found, Item
from headstart.frozen.fingerprint import photo_key
from headstart.frozen.photos import facts_of
from headstart.frozen.shared_store import SharedStore
from headstart.images.decode import decode_photo
from headstart.images.photo import Photo

_KEY: Final = "s3://museum-scans/2026/paintings/oil-on-canvas/{:012}.jpg"
_ROWS: Final = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--photos", type=int, nargs="*", default=[2_000, 8_000, 32_000])
    parser.add_argument("--nodes", type=int, default=3)
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    if arguments.photos:
        _measure_passes(arguments.photos, arguments.nodes, arguments.scratch)
    _measure_store(arguments.scratch)


@dataclass(frozen=True)
class _Ready:
    """What processes of the cluster do: see ``passes.Work``."""

    image: bytes
    widths: tuple[int, int]

    def open(self, num_cores: int) -> Callable[[list[Item]], list[Found]]:
        facts = facts_of(decode_photo(self.image, path=""), self.image, "0" * 64, path="")
        generator = np.random.default_rng(0)
        rows = (generator.standard_normal((64, width), np.float32) for width in self.widths)
        pairs = [*zip(*rows, strict=True)]

        def compute(items: list[Item]) -> list[Found]:
            own = (replace(facts, thumbnail=facts.thumbnail.copy()) for _ in items)  # pickled one by one
            return [
                Found(item, pair, own_facts) for item, pair, own_facts in zip(items, pairs, own, strict=False)
            ]

        return compute


@dataclass
class _Counting:
    """In place of the module ``pickle``: counts what the process that asks sends and receives."""

    sent: int = 0
    received: int = 0
    messages: int = 0

    def dumps(self, value: Any) -> bytes:
        data = pickle.dumps(value)
        self.sent += len(data)
        self.messages += 1
        return data

    def loads(self, data: bytes) -> Any:
        self.received += len(data)
        self.messages += 1
        return pickle.loads(data)


def _measure_passes(counts: list[int], num_nodes: int, scratch: Path) -> None:
    from ray.cluster_utils import Cluster

    backbone = find_backbone("timm/tf_efficientnet_lite0")
    assert backbone is not None
    path = scratch / "photo.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).resize((640, 480)).save(path)
    work = _Ready(path.read_bytes(), (backbone.num_features, sum(backbone.widths)))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(num_nodes):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    print(f"A pass on {num_nodes} nodes of one core; rows of {work.widths} numbers")
    print("| photos | sent, B/photo | received, B/photo | messages/photo | CPU, ms/photo | s | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for count in [64, *counts]:  # the first starts processes
        counting = _Counting()
        passes.pickle = counting  # type: ignore[assignment]
        began, cpu_began = time.perf_counter(), time.process_time()
        found = passes.RayCluster(cluster.address).map(work, _items(count))
        assert sum(1 for _ in found) == count
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        print(
            f"| {count:,} | {counting.sent / count:.0f} | {counting.received / count:,.0f} | "
            f"{counting.messages / count:.4f} | {1e3 * cpu / count:.2f} | {seconds:.0f} | {_peak_mb():.0f} |",
            flush=True,
        )
    cluster.shutdown()


def _items(count: int) -> Iterator[Item]:
    return (Item(Photo(_KEY.format(number))) for number in range(count))


def _measure_store(scratch: Path) -> None:
    """Print what a row costs in a shared store on this disk."""
    generator, width = np.random.default_rng(0), 1280
    rows = generator.standard_normal((1000, width), np.float32)
    keys = [photo_key(hashlib.sha256(str(number).encode()).hexdigest(), 0) for number in range(_ROWS)]
    about = SimpleNamespace(to_dict=lambda: {"name": "benchmark"})
    address = str(scratch / "store")
    shutil.rmtree(scratch / "store", ignore_errors=True)
    store = SharedStore(address, "rows", about)
    began = time.process_time()
    for number, key in enumerate(keys):
        store.put(key, rows[number % 1000])
    store.close()
    put = time.process_time() - began
    files = list((scratch / "store" / "rows").glob("*.parquet"))
    num_bytes = sum(path.stat().st_size for path in files)
    began = time.process_time()
    store = SharedStore(address, "rows", about)
    opened = time.process_time() - began
    index = store._keys.nbytes + store._where.nbytes
    began = time.process_time()
    assert all(store.get(key) is not None for key in keys)
    read = time.process_time() - began
    print(f"\nA shared store, {_ROWS:,} rows of {width:,} numbers, per row:")
    print(f"- on disk {num_bytes / _ROWS:,.0f} B in files of {_ROWS / len(files):,.0f} rows")
    print(f"- in memory, in each process that has it open, {index / _ROWS:.0f} B")
    print(f"- CPU: put {1e6 * put / _ROWS:.0f} µs, get in order {1e6 * read / _ROWS:.0f} µs")
    print(f"- opening: {1e6 * opened / _ROWS:.1f} µs of CPU, {1e3 * opened / len(files):.0f} ms per file")
    store.close()
    shutil.rmtree(scratch / "store")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    from benchmarks import scale  # whose classes other processes can import by this name

    scale.main()
