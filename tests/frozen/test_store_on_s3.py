"""A feature store on an S3 server that has faults: nothing is lost, and no damaged row is used."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.frozen.test_row_stores import assert_holds, fill
from tests.frozen.test_store import FINGERPRINT, key, row

import headstart as hs
from headstart.frozen.row_store import StoreError
from headstart.frozen.shared_store import SharedStore

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # those of moto and s3fs

SETTINGS: dict[str, Any] = {"size_px": 32, "verbose": False}
Respond = Callable[..., Any]
Fault = Callable[[dict[str, Any], Respond, Callable[[], Iterable[bytes]]], Iterable[bytes]]


def slow(environ: dict[str, Any], respond: Respond, answer: Callable[[], Iterable[bytes]]) -> Iterable[bytes]:
    time.sleep(0.03)
    return answer()


def busy(environ: dict[str, Any], respond: Respond, answer: Callable[[], Iterable[bytes]]) -> Iterable[bytes]:
    respond("503 Slow Down", [("Content-Type", "application/xml")])
    return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]


def cut(environ: dict[str, Any], respond: Respond, answer: Callable[[], Iterable[bytes]]) -> Iterable[bytes]:
    """Send half of a body whose length has been announced; listings have another form and stay whole."""
    body = b"".join(answer())
    return [body[: len(body) // 2] if is_object(environ) else body]


def no_listing(
    environ: dict[str, Any], respond: Respond, answer: Callable[[], Iterable[bytes]]
) -> Iterable[bytes]:
    if "list-type" not in environ["QUERY_STRING"]:
        return answer()
    respond("200 OK", [("Content-Type", "application/xml")])
    return [b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"]


def is_object(environ: dict[str, Any]) -> bool:
    return environ["REQUEST_METHOD"] == "GET" and environ["PATH_INFO"].endswith(".parquet")


class Server:
    """moto's S3 behind faults.

    Attributes:
        fault: What happens to the next requests of each kind.
        left: Number of these requests; the following ones are answered as usual.
        seen: Number of requests by method.
    """

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        self._app = DomainDispatcherApplication(create_backend_app)
        self.fault: Fault | None = None
        self.left = 0
        self.seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        with self._lock:
            self.seen[environ["REQUEST_METHOD"]] += 1
            is_faulty = self.fault is not None and self.left > 0
            self.left -= is_faulty
        if not is_faulty:
            return self._app(environ, respond)
        assert self.fault is not None
        return self.fault(environ, respond, lambda: self._app(environ, respond))

    def has(self, fault: Fault | None, left: int = 0) -> None:
        self.fault, self.left = fault, left

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    import fsspec

    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", server.address)
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # s3fs tries again, too, and so does the store
        patch.setattr("headstart.frozen.shards._FIRST_PAUSE_SECONDS", 0.01)
        fsspec.filesystem("s3").mkdir("shared")
        yield server
    server.close()


@pytest.fixture
def store(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """An address without rows, and a server that has no faults afterwards."""
    yield f"s3://shared/{abs(hash(request.node.nodeid))}"
    server.has(None)


FAULTS = [(slow, 1000), (busy, 3), (cut, 1), (cut, 12), (no_listing, 1)]


@pytest.mark.parametrize(("fault", "left"), FAULTS)
def test_faults_of_the_server_lose_nothing(server: Server, store: str, fault: Fault, left: int) -> None:
    said: list[str] = []

    def opened() -> SharedStore:
        return SharedStore(store, "rows", FINGERPRINT, say=said.append, burst_bytes=600)

    server.has(fault, left)
    writer = opened()
    fill(writer, range(40))
    writer.close()
    server.has(fault, left)
    reader = opened()
    found = {number: reader.get(key(number)) for number in range(40)}
    assert all(each is None or each.tobytes() == row(number).tobytes() for number, each in found.items())
    missing = [number for number, each in found.items() if each is None]
    assert not missing or said or fault is no_listing
    for number in missing:
        reader.put(key(number), row(number))
    reader.close()
    server.has(None)
    assert_holds(opened(), range(40))


def test_a_server_that_stays_busy_is_a_sentence(
    server: Server, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.frozen.shards._TRIES", 1)
    server.has(busy, 10_000)
    with pytest.raises(StoreError, match=r"cannot be read or written: .*reduce your request rate"):
        SharedStore(store, "rows", FINGERPRINT)


@pytest.mark.parametrize(("fault", "left"), [(busy, 3), (cut, 2), (no_listing, 1)])
def test_features_have_the_same_bits_on_a_server_with_faults(
    server: Server, store: str, photos: Path, fault: Fault, left: int
) -> None:
    expected = hs.features(photos, features="live", **SETTINGS)
    for _ in range(2):
        server.has(fault, left)
        found = hs.features(photos, store=store, **SETTINGS)
        assert found.unreadable == expected.unreadable == ()
        assert found["vector"].tobytes() == expected["vector"].tobytes()
    server.has(None)
    server.seen.clear()
    assert hs.features(photos, store=store, **SETTINGS)["vector"].tobytes() == expected["vector"].tobytes()
    assert server.seen["PUT"] == 0  # everything has been stored
