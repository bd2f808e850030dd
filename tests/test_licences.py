"""The licence of pretrained weights: where it comes from, and when it is pointed out."""

import importlib.metadata
from email.message import Message
from types import SimpleNamespace

import pytest

from headstart.weight_files import WeightsSource, in_packages


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("apache-2.0", ""),
        ("MIT", ""),
        ("The MIT License", ""),
        ("MIT License", ""),
        ("Apache 2.0", ""),
        ("Apache License 2.0", ""),
        ("Apache License, Version 2.0", ""),
        ("BSD 3-Clause", ""),
        ("BSD-3-Clause", ""),
        ("", ""),
        ("cc-by-nc-4.0", "does not allow commercial use"),
        ("fair-noncommercial-research-license", "does not allow commercial use"),
        ("dinov3-license", "has conditions of its own"),
        ("https://github.com/facebookresearch/SWAG/blob/main/LICENSE", "has conditions of its own"),
    ],
)
def test_licences_that_restrict_the_use_are_pointed_out(licence, told):
    warning = WeightsSource("cache", "/a/file.pth", "0" * 64, licence=licence).licence_warning
    assert (licence in warning and told in warning) if told else warning == ""


def test_the_default_weights_are_apache():
    assert in_packages()["timm/tf_efficientnet_lite0.in1k"].licence == "apache-2.0"


def test_the_licence_is_shown_beside_the_origin():
    source = WeightsSource("cache", "/a/file.pth", "0" * 64, licence="mit")
    assert str(source) == "cache /a/file.pth (licence: mit)"
    assert source.to_dict() == {"kind": "cache", "path": "/a/file.pth", "licence": "mit"}
    assert WeightsSource("random").to_dict() == {"kind": "random"}


@pytest.mark.parametrize(
    ("field", "stated", "licence"),
    [
        ("License-Expression", "MIT", "MIT"),
        ("License", "BSD-3-Clause", "BSD-3-Clause"),
        ("License", "UNKNOWN", ""),
        ("License", "The whole text\nof a licence", ""),
        ("Summary", "Weights", ""),
    ],
)
def test_a_package_states_the_licence_of_its_weights(tmp_path, monkeypatch, field, stated, licence):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"")
    metadata = Message()
    metadata[field] = stated
    entry = SimpleNamespace(
        name="mine",
        dist=SimpleNamespace(metadata=metadata),
        load=lambda: lambda: {"resnet18.MINE": (file, "0" * 64, "names")},
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    assert in_packages()["resnet18.MINE"].licence == licence
