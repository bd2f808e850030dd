"""Make Headstart's own graphs without weights: ``python scripts/make_graphs.py`` (needs PyTorch).

Each network is exported twice with random weights and statistics, exactly as a training with PyTorch exports
its frozen prefix. Which tensors of the state dict an initializer comes from shows in its bits. What is the
same in both exports does not depend on the weights and stays in the graph; whatever cannot be explained is
refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import nn

from headstart.frozen.own_graphs import OWN_GRAPHS, RECIPE_KEY, Recipe, graph_file_name
from headstart.model.backbones import Backbone, create_native, resolve
from headstart.model.to_backbone import prefix_graph

FOLDER = Path(__file__).parents[1] / "src" / "headstart" / "frozen" / "graphs"


def make_graph(full_name: str) -> onnx.ModelProto:
    """Make the graph of a backbone, without its weights and with its recipe in the metadata.

    Raises:
        ValueError: An initializer cannot be explained.
    """
    backbone = resolve(full_name)
    networks = [_random_network(backbone, seed) for seed in (1, 2)]
    graphs = [prefix_graph(network, backbone.preprocessing) for network in networks]
    model, other = (onnx.load_from_string(graph) for graph, _ in graphs)
    state_dicts = [_arrays(network) for network in networks]
    key_of = {array.tobytes(): key for key, array in state_dicts[0].items()}
    weights = {}
    for tensor, again in zip(model.graph.initializer, other.graph.initializer, strict=True):
        bits, bits_again = (onnx.numpy_helper.to_array(each).tobytes() for each in (tensor, again))
        if key := key_of.get(bits):
            weights[tensor.name] = key
            tensor.ClearField("raw_data")
        if bits_again != (state_dicts[1][key].tobytes() if key else bits):
            raise ValueError(f"{full_name}: the initializer {tensor.name} cannot be explained")
    recipe = Recipe(
        name=backbone.full_name,
        preprocessing=backbone.preprocessing,
        file_name=backbone.file_name,
        stages=graphs[0][1],
        shapes={key: array.shape for key, array in state_dicts[0].items()},
        weights=weights,
    )
    model.metadata_props.add(key=RECIPE_KEY, value=recipe.to_json())
    return model


def _random_network(backbone: Backbone, seed: int) -> nn.Module:
    network = create_native(backbone)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def _arrays(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in OWN_GRAPHS:
        content = make_graph(name).SerializeToString()
        (FOLDER / graph_file_name(name)).write_bytes(content)
        print(f"{graph_file_name(name)}: {len(content):,} bytes")
