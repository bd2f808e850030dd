"""The form of requests and answers, for validation and for ``/openapi.json``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Annotated, Any, Final

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from headstart.serving.guard import PUBLIC
from headstart.serving.models import Served
from headstart.serving.problems import PROBLEMS
from headstart.serving.uploads import FIELD


class PredictOptions(BaseModel):
    """Parameters of ``/v1/predict``; others are errors."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str | None, Query(description="Name of a model; by default the first.")] = None
    top_k: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="Number of most probable classes; by default all.")
    ] = None
    heat_map: Annotated[
        bool, Query(description="Also show where in the photo the most probable class comes from.")
    ] = False
    similar: Annotated[
        int | None,
        Query(ge=1, le=20, description="Also show this number of the most similar training photos."),
    ] = None


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str = Field(description="For programs; see docs/reference/serving.md.")
    message: str = Field(description="For people: what is wrong, what is allowed, and what to do.")


class ErrorAnswer(BaseModel):
    """The answer to a request that is wrong as a whole."""

    error: ErrorDetail
    request_id: str | None


class HeatMapAnswer(BaseModel):
    """Where in the photo the most probable class comes from."""

    label: str
    values: list[list[float]] = Field(description="By row and column: what each place contributes.")
    share: float = Field(description="How much of the contributions the map shows, 0 to 1.")
    area: list[float] = Field(
        min_length=4, max_length=4, description="The part that the map covers, in pixels of the photo."
    )


class SimilarAnswer(BaseModel):
    """A training photo that is similar to the photo."""

    name: str = Field(description="Its path below the folder of the training photos.")
    label: str
    similarity: float = Field(description="Cosine of the centred features, -1 to 1.")
    thumbnail: str | None = Field(
        description="A JPEG file in base64, at most 160 pixels on each side; null if it cannot be read."
    )


class PhotoAnswer(BaseModel):
    """The prediction for a photo. Only the fields of the model's task are set."""

    name: str | None = Field(description="The photo's name in the form.")
    label: str | None = Field(description="The most probable class.")
    probability: float | None = Field(description="Its probability.")
    probabilities: dict[str, float] = Field(description="Probabilities by class, from the highest.")
    labels: list[str] = Field(description="Several labels: the classes above their thresholds.")
    numbers: dict[str, float] = Field(description="Predicted numbers by target.")
    box: list[float] | None = Field(description="xmin, ymin, xmax, ymax in pixels of the upright photo.")
    unknown: bool | None = Field(description="Whether the photo is probably of none of the classes.")
    unknown_score: float | None = Field(description="How foreign it is to the classes.")
    heat_map: HeatMapAnswer | None = Field(default=None, description="Only if it was asked for.")
    similar: list[SimilarAnswer] | None = Field(
        default=None, description="The most similar training photos, the best first; only if asked for."
    )
    milliseconds: float = Field(description="Decoding and predicting, without waiting.")


class PhotoError(BaseModel):
    """A photo that cannot be predicted."""

    name: str | None
    error: ErrorDetail


class PredictAnswer(BaseModel):
    """The predictions for all photos of a request, in their order."""

    model_config = ConfigDict(protected_namespaces=())

    model: str
    model_sha256: str = Field(description="SHA-256 of the model file that answered.")
    request_id: str
    predictions: list[PhotoAnswer | PhotoError]


class ModelAnswer(BaseModel):
    """What a model predicts."""

    name: str
    sha256: str
    task: str
    class_names: list[str]
    targets: list[str]
    backbone: str
    size_px: int
    has_heat_maps: bool
    has_similar: bool
    recognises_unknown: bool


class ModelsAnswer(BaseModel):
    """The models; the first is the default."""

    models: list[ModelAnswer]


class Status(BaseModel):
    """A short answer for programs that watch the service."""

    status: str


BODY: Final[dict[str, Any]] = {
    "required": True,
    "description": "A photo, or a form with one or several photos.",
    "content": {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                },
                "required": [FIELD],
                "additionalProperties": False,
            },
        },
    },
}
"""The body of a request to ``/v1/predict`` for OpenAPI."""


def completed(description: dict[str, Any], models: Sequence[Served], *, token: bool) -> dict[str, Any]:
    """Return a description for OpenAPI with what depends on the models and on the service.

    Args:
        description: As FastAPI makes it; it is not changed.
        models: The models that are served now.
        token: Whether clients must send a token.
    """
    found = copy.deepcopy(description)
    of_feature = {
        "heat_map": [each.name for each in models if each.predictor.explains],
        "similar": [each.name for each in models if each.similar is not None],
    }
    operation = found["paths"]["/v1/predict"]["post"]
    for parameter in operation["parameters"]:
        if parameter["name"] == "model":
            parameter["schema"] = {"type": "string", "enum": [each.name for each in models]}
        elif (names := of_feature.get(parameter["name"])) is not None:
            of_these = ", ".join(names) or "no model"
            parameter["description"] += f" Supported by: {of_these}; other models answer 422."
    if not of_feature["heat_map"]:
        _parameter(operation, "heat_map")["schema"] |= {"enum": [False]}
    if not of_feature["similar"]:
        operation["parameters"].remove(_parameter(operation, "similar"))
    if token:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        for path, operations in found["paths"].items():
            if path not in PUBLIC:
                for each in operations.values():
                    each["security"] = [{"token": []}]
    return found


def _parameter(operation: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in operation["parameters"] if each["name"] == name)
    return found


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says about these statuses."""
    return {
        status: {
            "model": ErrorAnswer,
            "description": " ".join(text for each, text in PROBLEMS.values() if each == status),
        }
        for status in statuses
    }
