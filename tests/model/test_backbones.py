from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import timm
import torch
from torchvision import models

from headstart.config import TrainConfig
from headstart.errors import UnknownBackboneError
from headstart.images.settings import Preprocessing
from headstart.model.backbones import (
    create_native,
    every,
    listed,
    native_lines,
    resolve,
)
from headstart.model.stages import is_staged

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALVES = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.mark.parametrize(
    ("name", "full_name"),
    [
        ("resnet50", "resnet50.IMAGENET1K_V1"),
        ("resnet50.IMAGENET1K_V2", "resnet50.IMAGENET1K_V2"),
        ("resnet50.imagenet1k_v2", "resnet50.IMAGENET1K_V2"),
        ("resnet50.default", "resnet50.IMAGENET1K_V2"),
        ("regnet_y_128gf", "regnet_y_128gf.IMAGENET1K_SWAG_E2E_V1"),  # it has no IMAGENET1K_V1
        ("timm/resnet50.tv_in1k", "timm/resnet50.tv_in1k"),
        (TrainConfig.backbone, "timm/tf_efficientnet_lite0.in1k"),
    ],
)
def test_name_stands_for_one_network_and_one_set_of_weights(name: str, full_name: str) -> None:
    assert resolve(name).full_name == full_name


def test_every_torchvision_classification_network_resolves_with_a_digest_in_its_url() -> None:
    names = models.list_models(module=models)
    assert len(names) >= 80
    for name in names:
        backbone = resolve(name)
        assert backbone.url == models.get_model_weights(name)[backbone.tag].url
        assert backbone.digest
        assert backbone.file_name
        assert backbone.digest in backbone.file_name


def test_full_name_stands_for_itself() -> None:
    for backbone in listed():
        assert resolve(backbone.full_name) == backbone


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", Preprocessing(224, 224 / 256, "bilinear", "crop", **IMAGENET)),
        ("inception_v3", Preprocessing(299, 299 / 342, "bilinear", "crop", **IMAGENET)),
        ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", Preprocessing(384, 1.0, "bicubic", "crop", **IMAGENET)),
        ("timm/tf_efficientnet_lite0", Preprocessing(224, 0.875, "bicubic", "crop", **HALVES)),
        ("timm/tf_efficientnet_lite1", Preprocessing(240, 240 / 272, "bicubic", "crop", **HALVES)),
        ("timm/tf_efficientnet_lite2", Preprocessing(260, 260 / 292, "bicubic", "crop", **HALVES)),
        ("timm/resnet18.a1_in1k", Preprocessing(224, 224 / 235, "bicubic", "crop", **IMAGENET)),
        (
            "timm/vit_base_patch16_siglip_224.webli",
            Preprocessing(224, 224 / 248, "bicubic", "crop", **HALVES),
        ),
        ("timm/volo_d4_448.sail_in1k", Preprocessing(448, 1.0, "bicubic", "crop", **IMAGENET)),
        ("timm/convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384", "squash"),
    ],
)
def test_preprocessing_is_what_the_weights_were_trained_with(
    name: str, expected: Preprocessing | str
) -> None:
    preprocessing = resolve(name).preprocessing
    assert expected == (preprocessing.resize if isinstance(expected, str) else preprocessing)


def test_photos_are_resized_to_the_very_size_that_the_library_resizes_to() -> None:
    for backbone in every():
        resized_px = backbone.preprocessing.size_px / backbone.preprocessing.crop_fraction
        if backbone.library == "torchvision":
            transform = models.get_model_weights(backbone.name)[backbone.tag].transforms()
            assert [resized_px] == pytest.approx(transform.resize_size)
        else:
            crop_pct = timm.models.get_pretrained_cfg(backbone.timm_name).crop_pct
            expected = math.floor(backbone.preprocessing.size_px / min(crop_pct, 1))
            assert resized_px == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("resnet5", ["'resnet5'", "Did you mean 'resnet50'?", "headstart backbones"]),
        ("ResNet18", ["Did you mean 'resnet18'?"]),
        ("", ["Unknown backbone ''"]),
        ("efficientnet_lite0", ["'timm/efficientnet_lite0'", "names exist in both libraries"]),
        ("tf_efficientnet_lite0.in1k", ["write 'timm/tf_efficientnet_lite0.in1k'"]),
        ("timm/resnet5", ["'timm/resnet5'", "Did you mean 'timm/resnet50'?"]),
        ("hub/resnet18", ["'hub/resnet18'", "'timm/NAME' is timm's"]),
        ("resnet18.IMAGENET1K_V2", ["resnet18 has no weights 'IMAGENET1K_V2'", "It has: IMAGENET1K_V1."]),
        ("timm/resnet18.a9_in1k", ["timm/resnet18 has no weights 'a9_in1k'", "a1_in1k, a2_in1k"]),
        ("vgg16.IMAGENET1K_FEATURES", ["It has: IMAGENET1K_V1."]),  # a detector's; its classifier is NaN
    ],
)
def test_unknown_names_and_tags_say_what_there_is(name: str, fragments: list[str]) -> None:
    with pytest.raises(UnknownBackboneError) as caught:
        resolve(name)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("input_size", [(1, 224, 224), (3, 1024, 768)])
def test_network_that_does_not_take_square_colour_images_is_refused(
    input_size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = dataclasses.replace(timm.models.get_pretrained_cfg("resnet18"), input_size=input_size)
    monkeypatch.setattr(timm.models, "get_pretrained_cfg", lambda name: cfg)
    channels, height, width = input_size
    with pytest.raises(UnknownBackboneError, match=f"{channels} channels and {height} × {width} pixels"):
        resolve("timm/resnet18")


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm/test_vit"])
def test_building_follows_the_seed_and_leaves_the_generator_alone(name: str) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = create_native(resolve(name)).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    second = create_native(resolve(name)).state_dict()
    torch.manual_seed(2)
    third = create_native(resolve(name)).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], third[key]) for key in first)


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm/test_resnet"])
@pytest.mark.parametrize(("num_classes", "outputs"), [(None, 1000), (7, 7)])
def test_network_has_the_pretrained_number_of_classes_unless_told(
    name: str, num_classes: int | None, outputs: int
) -> None:
    network = create_native(resolve(name), num_classes=num_classes).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, outputs)


@pytest.mark.parametrize(
    ("name", "parameter", "shape"),
    [
        ("googlenet", "aux2.fc2.weight", (1000, 1024)),
        ("inception_v3", "AuxLogits.fc.weight", (1000, 768)),
        ("vit_b_16", "encoder.pos_embedding", (1, 197, 768)),
        ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", "encoder.pos_embedding", (1, 577, 768)),
        ("timm/vit_small_patch16_224.augreg_in21k", "head.weight", (21843, 384)),
        ("timm/vit_small_patch14_dinov2", "pos_embed", (1, 1370, 384)),
    ],
)
def test_state_dict_has_the_shapes_of_the_pretrained_file(
    name: str, parameter: str, shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        network = create_native(resolve(name))
    assert network.state_dict()[parameter].shape == shape


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inception_networks_take_images_normalised_as_their_weights_say(name: str) -> None:
    with torch.device("meta"):
        assert create_native(resolve(name)).transform_input is True


@pytest.mark.slow
@pytest.mark.parametrize("name", models.list_models(module=models))
def test_every_torchvision_network_is_built_without_a_warning(name: str) -> None:
    backbone = resolve(name)
    # RegNet computes its widths with tensors, so it cannot be built without numbers.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        network = create_native(backbone)
    auxiliary = sum(p.numel() for n, p in network.named_parameters() if n.startswith("aux"))
    assert sum(p.numel() for p in network.parameters()) - auxiliary == backbone.num_params


@pytest.mark.parametrize(
    "name",
    [
        "squeezenet1_1",
        "googlenet",
        "timm/test_vit.r160_in1k",
        "timm/test_efficientnet",
    ],
)
def test_native_lines_load_a_state_dict_without_headstart(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = resolve(name)
    saved = create_native(backbone, num_classes=4).state_dict()
    torch.save(saved, tmp_path / "model.pth")
    monkeypatch.chdir(tmp_path)
    lines = native_lines(backbone, 4)
    assert "headstart" not in lines
    variables: dict[str, torch.nn.Module] = {}
    exec(lines, variables)
    loaded = variables["net"].state_dict()
    assert list(loaded) == list(saved)
    assert all(torch.equal(loaded[key], saved[key]) for key in saved)


def test_native_lines_name_the_file_and_what_the_constructor_must_know() -> None:
    lines = native_lines(resolve("vit_b_16.IMAGENET1K_SWAG_E2E_V1"), 4)
    assert "net = torchvision.models.vit_b_16(num_classes=4, image_size=384)\n" in lines
    assert "torch.load('it\\'s \"it\".pth', " in native_lines(resolve("resnet18"), 4, 'it\'s "it".pth')


@pytest.mark.parametrize(
    ("name", "num_params"),
    [("vgg16", 138_357_544), ("googlenet", 6_624_904), (TrainConfig.backbone, 4_652_008)],
)
def test_parameters_are_counted_without_building(name: str, num_params: int) -> None:
    backbone = resolve(name)
    assert backbone.num_params == num_params
    assert backbone.megabytes == num_params * 4 / 1e6


@pytest.mark.slow
def test_list_begins_with_the_default_and_holds_all_of_torchvision_and_only_staged_ones_of_timm() -> None:
    backbones = listed()
    assert backbones[0] == resolve(TrainConfig.backbone)
    torchvisions = {backbone.name for backbone in backbones if backbone.library == "torchvision"}
    assert torchvisions == set(models.list_models(module=models))
    for backbone in backbones:
        if backbone.library == "timm":
            with torch.device("meta"):
                assert is_staged(create_native(backbone)), backbone.full_name
