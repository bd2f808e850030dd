"""Hosts, origins, tokens and paths behind a proxy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headstart.errors import ConfigError, UsageError
from headstart.serving.app import Service
from headstart.serving.settings import ServeSettings, token_of
from serving_calls import call, code_of, open_service

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def open_with(model: Path) -> Iterator[Callable[..., Service]]:
    opened = []

    def open_with(**settings: Any) -> Service:
        opened.append(open_service(model, **settings))
        return opened[-1]

    yield open_with
    for each in opened:
        each.close()


def listed(service: Service, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(service, "GET", "/v1/models", headers=given)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("localhost", True), ("LOCALHOST:8000", True), ("127.0.0.1", True), ("10.1.2.3:80", True)),
        *(("[::1]:8000", True), ("photos.example.com", True), ("evil.example.com", False), ("", False)),
        *(("127.0.0.1.evil.com", False), ("localhost.evil.com:8000", False), ("photos.example.com:x", False)),
    ],
)
def test_only_known_names_and_addresses_are_hosts(
    open_with: Callable[..., Service], host: str, allowed: bool
) -> None:
    service = open_with(allow_hosts=("photos.example.com",))
    answer = listed(service, host=host)
    assert answer.status_code == (200 if allowed else 403)
    assert allowed or code_of(answer) == "forbidden_host"
    assert call(service, "GET", "/healthz", headers={"Host": host}).status_code == 200


def test_any_host_can_be_allowed(open_with: Callable[..., Service]) -> None:
    assert listed(open_with(allow_hosts=("*",)), host="evil.example.com").status_code == 200


def test_pages_of_other_origins_are_refused_unless_they_are_allowed(
    open_with: Callable[..., Service],
) -> None:
    service = open_with(allow_origins=("https://app.example.com",), token=TOKEN)
    bearer = f"Bearer {TOKEN}"
    own = listed(service, origin="http://127.0.0.1:8000", authorization=bearer)
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    for origin in (
        "https://evil.com",
        "null",
        "http://127.0.0.1:9000",
        "http://[",
        "https://app.example.com.x",
    ):
        answer = listed(service, origin=origin, authorization=bearer)
        assert (answer.status_code, code_of(answer)) == (403, "forbidden_origin")
        assert "access-control-allow-origin" not in answer.headers
    allowed = listed(service, origin="https://app.example.com", authorization=bearer)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
    refused = listed(service, origin="https://app.example.com")
    assert refused.status_code == 401  # and the page can read why
    assert refused.headers["access-control-allow-origin"] == "https://app.example.com"
    preflight = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    answer = call(service, "OPTIONS", "/v1/predict", headers=preflight)
    assert (answer.status_code, answer.content) == (204, b"")
    assert "authorization" in answer.headers["access-control-allow-headers"]
    answer = call(service, "OPTIONS", "/v1/models", headers={"Access-Control-Request-Method": "GET"})
    assert answer.status_code == 401  # not of a page, so not a way around the token


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"],
)
def test_a_wrong_token_is_refused_everywhere_but_for_watching(
    open_with: Callable[..., Service], given: str | None
) -> None:
    service = open_with(token=TOKEN)
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    for method, path in (
        *(("GET", "/v1/models"), ("POST", "/v1/predict"), ("GET", "/metrics"), ("GET", "/openapi.json")),
        *(("GET", "/nowhere"), ("GET", "/healthz/"), ("GET", "/healthz/x")),
    ):
        answer = call(service, method, path, headers=headers)
        assert (answer.status_code, code_of(answer)) == (401, "token_required"), path
        assert answer.headers["www-authenticate"] == "Bearer"
        is_wrong = (given or "").startswith("Bearer ")
        assert answer.json()["error"]["message"].startswith("The token is wrong") is is_wrong
    for path in ("/healthz", "/readyz"):
        assert call(service, "GET", path, headers=headers).status_code == 200


def test_the_right_token_is_accepted(open_with: Callable[..., Service]) -> None:
    service = open_with(token=TOKEN)
    for given in (f"Bearer {TOKEN}", f"bearer  {TOKEN}"):
        assert listed(service, authorization=given).status_code == 200


def test_a_path_behind_a_proxy_works_whether_it_is_stripped_or_not(open_with: Callable[..., Service]) -> None:
    service = open_with(root_path="/my/photos", token=TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/v1/models", "/my/photos/v1/models"):
        assert call(service, "GET", path, headers=bearer).status_code == 200
        assert call(service, "GET", path).status_code == 401
    for path in ("/my/photosv1/models", "/my/photos/my/photos/v1/models"):
        assert call(service, "GET", path, headers=bearer).status_code == 404
    assert call(service, "GET", "/my/photos/healthz").status_code == 200
    description = call(service, "GET", "/openapi.json", headers=bearer).json()
    assert description["servers"] == [{"url": "/my/photos"}]


def test_addresses_that_others_reach_need_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADSTART_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.com", ""):
        with pytest.raises(UsageError, match=r"openssl rand -hex 32 > token\.txt.*--no-token"):
            token_of(host, None, no_token=False)
        assert token_of(host, None, no_token=True) is None
    for host in ("127.0.0.1", "127.1.2.3", "localhost", "::1"):
        assert token_of(host, None, no_token=False) is None
    file = tmp_path / "token.txt"
    file.write_text(f"{TOKEN}\n")
    assert token_of("127.0.0.1", file, no_token=False) == TOKEN
    monkeypatch.setenv("HEADSTART_TOKEN", TOKEN[::-1])
    assert token_of("0.0.0.0", None, no_token=False) == TOKEN[::-1]
    with pytest.raises(UsageError, match="both set"):
        token_of("0.0.0.0", file, no_token=True)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        token_of("0.0.0.0", tmp_path / "nowhere", no_token=False)
    for wrong in ("", "short", "with a space in the middle", "ünicode-ünicode-ünicode"):
        file.write_text(wrong, "utf-8")
        with pytest.raises(UsageError, match="at least 16") as error:
            token_of("127.0.0.1", file, no_token=False)
        assert not wrong or wrong not in str(error.value)


def test_wrong_settings_are_refused_together() -> None:
    with pytest.raises(ConfigError) as error:
        ServeSettings(
            port=70000,
            queue=0,
            max_mb=2000,
            allow_hosts=("https://x",),
            allow_origins=("example.com",),
            root_path="/photos/",
            similar=3,  # type: ignore[arg-type]
        )
    for each in (
        "similar is 3; it must be True or False",
        "port is 70000",
        "queue is 0",
        "max_mb is 2000",
        "allow_host is",
        "allow_origin is",
        "root_path",
    ):
        assert each in str(error.value)
    with pytest.raises(ConfigError, match="max_photos is 20, but the queue holds 10 photos"):
        ServeSettings(queue=10, max_photos=20)
    assert TOKEN not in repr(ServeSettings(token=TOKEN))
