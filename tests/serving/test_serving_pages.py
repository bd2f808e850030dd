"""docs/reference/serving.md lists what there is, and /openapi.json says what is true."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from headstart.cli.serving import serve as command
from headstart.serving.app import Service
from headstart.serving.problems import PROBLEMS
from headstart.serving.serve import serve
from headstart.serving.settings import ServeSettings
from serving_calls import call, jpeg, open_service, predict

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "serving.md").read_text("utf-8")


def test_the_page_lists_every_error_and_metric(service: Service) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", PAGE, re.MULTILINE))
    assert rows == {code: str(status) for code, (status, _) in PROBLEMS.items()}
    text = call(service, "GET", "/metrics").text
    names = {
        name + "_total" * (kind == "counter" and not name.endswith("_total"))
        for name, kind in re.findall(r"# TYPE (\w+) (\w+)", text)
        if not name.endswith("_created")
    }
    assert set(re.findall(r"^\| `(headstart_\w+)` \|", PAGE, re.MULTILINE)) == names


def test_the_page_has_the_defaults_of_the_limits() -> None:
    rows = re.findall(r"^\| `--([\w-]+)` \| (\d+)", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for name, default in rows:
        assert getattr(ServeSettings, name.replace("-", "_")) == int(default)


def test_the_command_and_the_function_have_the_same_settings() -> None:
    given = inspect.signature(command).parameters
    named = {"allow_host": "allow_hosts", "allow_origin": "allow_origins"}
    options = {named.get(name, name): each.default for name, each in given.items()}
    known = inspect.signature(serve).parameters
    fields = {
        name: getattr(ServeSettings, name) for name in ServeSettings.__dataclass_fields__ if name != "token"
    }
    own = {name: each.default for name, each in known.items() if name != "settings"}
    none = {"allow_hosts": (), "allow_origins": ()}
    assert {name: none.get(name, each) for name, each in options.items()} == fields | own


def resolved(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        found: dict[str, Any] = description["components"]["schemas"][name]
        return found
    return schema


def test_openapi_describes_the_answers_and_every_status(model: Path) -> None:
    service = open_service(model, token="0123456789abcdef")
    bearer = {"Authorization": "Bearer 0123456789abcdef"}
    description = call(service, "GET", "/openapi.json", headers=bearer).json()
    assert set(description["paths"]) == {"/v1/predict", "/v1/models", "/healthz", "/readyz", "/metrics"}
    operation = description["paths"]["/v1/predict"]["post"]
    assert {int(status) for status in operation["responses"]} == {200} | {
        status
        for code, (status, _) in PROBLEMS.items()
        if code not in ("method_not_allowed", "headers_too_large")
    }
    assert operation["security"] == [{"token": []}]
    assert "security" not in description["paths"]["/healthz"]["get"]
    parameters = {each["name"]: each["schema"] for each in operation["parameters"]}
    assert parameters["model"]["enum"] == ["colours"]
    assert parameters["heat_map"]["enum"] == [False]  # the model has none

    answer = predict(service, jpeg(), authorization=bearer["Authorization"]).json()
    schema = resolved(operation["responses"]["200"]["content"]["application/json"]["schema"], description)
    assert answer.keys() == schema["properties"].keys()
    photo = description["components"]["schemas"]["PhotoAnswer"]
    on_request = {"heat_map", "similar"}
    assert set(photo["required"]) == set(answer["predictions"][0]) == set(photo["properties"]) - on_request
    error = resolved(operation["responses"]["422"]["content"]["application/json"]["schema"], description)
    assert error["properties"].keys() == json.loads(predict(service, b"").text).keys()
    listed = call(service, "GET", "/v1/models", headers=bearer).json()["models"][0]
    assert listed.keys() == description["components"]["schemas"]["ModelAnswer"]["properties"].keys()
    service.close()
