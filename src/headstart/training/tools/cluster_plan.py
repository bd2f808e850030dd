"""What ``headstart train --dry-run --ray`` says about the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from headstart.cluster.connection import connected
from headstart.cluster.rates import Rate, rates
from headstart.columns import counted, table
from headstart.frozen.elsewhere import Item
from headstart.frozen.opened import open_backbone_features
from headstart.training.probe_setup import ProbeSetup
from headstart.training.tools.phase_plan import duration, line, size

_SAMPLE: Final = 64  # photos that each core of the cluster maps


@dataclass(frozen=True)
class ClusterPlan:
    """A pass over photos on a cluster.

    Attributes:
        num_photos: Photos to compute.
        photo_bytes: Mean size of a photo's file, measured.
        row_bytes: Size of one row.
        rates: What the nodes do.
    """

    num_photos: int
    photo_bytes: float
    row_bytes: int
    rates: list[Rate]

    def lines(self) -> Iterator[str]:
        """Describe the pass, with a row for each node: they take photos until none is left."""
        to_read = size(round(self.num_photos * self.photo_bytes))
        rows = f"{counted(self.num_photos, 'row')} of {self.row_bytes:,} bytes"
        yield line("cluster", f"about {to_read} to read; {rows}, {size(self.num_photos * self.row_bytes)}")
        together = sum(each.photos_per_second for each in self.rates)
        time = duration(self.num_photos / together)
        shown = []
        for each in self.rates:
            num_photos = round(self.num_photos * each.photos_per_second / together)
            rate = f"{each.photos_per_second:,.1f}"
            shown.append((each.node, f"{each.num_processes:,}", rate, f"{num_photos:,}", time))
        num_processes = sum(each.num_processes for each in self.rates)
        shown.append(("together", f"{num_processes:,}", f"{together:,.1f}", f"{self.num_photos:,}", time))
        for text in table(("node", "processes", "photos/s", "photos", "time"), shown):
            yield line("", text)
        yield line("", f"measured with {_SAMPLE} photos per core; less what is stored already, and about")
        yield line("", "ten seconds to start")


def plan_on_cluster(setup: ProbeSetup, say: Callable[[str], object]) -> ClusterPlan:
    """Measure what the nodes of the cluster do with some of the photos; nothing is stored.

    Args:
        setup: What the run begins with; its setting ``ray`` is the cluster.
        say: Called with sentences for the user.

    Raises:
        UsageError: There is no such cluster, or its nodes cannot be used.
    """
    config, backbone, candidates = setup.config, setup.backbone, setup.listing.candidates
    assert config.ray is not None
    sample = candidates[:: max(1, len(candidates) // _SAMPLE)][:_SAMPLE]
    photo_bytes = sum(len(each.photo.content()) for each in sample) / len(sample)
    pooled = setup.storage[0] or len(setup.blocks) > 1
    opened = open_backbone_features(backbone, say=say, pooled=pooled, keep=False, workers=config.workers)
    items = [Item(each.photo) for each in sample]
    items *= max(1, _SAMPLE // len(items))
    say("Timing the nodes of the cluster")
    with connected(config.ray):
        found = rates(opened.activations.work(), items)
    opened.close()
    num_features = backbone.num_features + (sum(backbone.widths) if pooled else 0)
    return ClusterPlan(len(candidates), photo_bytes, 4 * num_features, found)
