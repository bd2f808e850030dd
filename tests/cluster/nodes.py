"""Ray's own cluster for tests, whose nodes are processes on this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from headstart.cluster.connection import connected


class Nodes:
    """A cluster to which this process is connected, so that ``ray="local"`` means this one, too.

    Its head has no cores; ``have`` decides about the other nodes.

    Attributes:
        address: For the setting ``ray``.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.address: str = self._cluster.address
        self._connection = connected(self.address)
        self._connection.__enter__()
        self._cores: tuple[int, ...] = ()

    def have(self, *cores: int) -> None:
        """Replace all nodes by others, unless those that there are have as many cores."""
        if cores == self._cores:
            return
        for node in list(self._cluster.worker_nodes):
            self._cluster.remove_node(node)
        for number in cores:
            self._cluster.add_node(num_cpus=number)
        self._cluster.wait_for_nodes()
        self._cores = cores

    def kill_one(self) -> None:
        """Kill the node that was added last."""
        self._cluster.remove_node(self._cluster.worker_nodes[-1], allow_graceful=False)
        self._cores = ()

    def kill_a_process(self) -> None:
        """Kill one process that maps photos, as soon as there is one."""
        nodes = self._cluster.list_all_nodes()
        raylets = {each.process.pid for node in nodes for each in node.all_processes["raylet"]}
        while True:
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                    name = (folder / "cmdline").read_bytes()
                except OSError:
                    continue
                if int(parent) in raylets and name.startswith(b"ray::") and b"_in_process" in name:
                    os.kill(int(folder.name), signal.SIGKILL)
                    return
            time.sleep(0.05)

    def close(self) -> None:
        """End all processes of the cluster."""
        self._connection.__exit__(None, None, None)
        self._cluster.shutdown()
