"""Which settings are allowed with which kind of backbone: a network by name, or an ONNX file of the user."""

from __future__ import annotations

from typing import Any

from headstart.config.phase import PhaseConfig


def contradictions_of_backbone(config: Any) -> list[str]:
    """Return a sentence for each setting that contradicts the kind of backbone.

    Args:
        config: A ``TrainConfig``. Untyped, because its module imports this one.
    """
    if not config.backbone_is_file:
        return [
            f"{name} is {getattr(config, name)!r}, but only a backbone in an ONNX file has this setting, and "
            f"backbone is {config.backbone!r}. Leave {name} out."
            for name in ("mean", "std", "output_name")
            if getattr(config, name) is not None
        ]
    problems = []
    if config.weights != "default":
        problems.append(
            f"weights is {config.weights!r}, but the file {config.backbone!r} contains its own weights. "
            f"Leave weights out."
        )
    problems += [
        f"{name} is {getattr(config, name)!r}, but the features of an ONNX file are computed on the CPU, in "
        f"float32. Leave {name} out."
        for name, allowed in (("device", ("auto", "cpu")), ("precision", ("auto", "fp32")))
        if getattr(config, name) not in allowed
    ]
    if config.task == "box" or config.head not in ("auto", "linear", "stages"):
        wanted = "task is 'box'" if config.task == "box" else f"head is {config.head!r}"
        problems.append(f"{wanted}, which needs a network. {file_is_not_trained(config.backbone)}")
    if config.phases and not _is_probe(config.phases):
        problems.append(f"The phases train in steps. {file_is_not_trained(config.backbone)}")
    elif not config.phases and config.recipe in ("finetune", "deep", "full", "classic", "best"):
        problems.append(f"recipe is {config.recipe!r}. {file_is_not_trained(config.backbone)}")
    return problems


def file_is_not_trained(file: str) -> str:
    """Return a sentence on what to do instead of fine-tuning an ONNX file."""
    return (
        f"An ONNX file cannot be fine-tuned, and {file!r} is one. Train a probe on it, with --recipe probe, "
        f"or choose a backbone by its name: headstart backbones lists them."
    )


def _is_probe(phases: tuple[PhaseConfig, ...]) -> bool:
    """Return whether phases only solve a head."""
    return len(phases) == 1 and phases[0].optimizer == "exact" and phases[0].unfreeze in ("head", 0)
