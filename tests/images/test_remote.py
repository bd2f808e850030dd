"""Remote photos, from a server on this machine that behaves as servers do."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any

import pytest
from PIL import Image

from headstart.config import TrainConfig
from headstart.data.check import check_images, check_photo, quarantine_csv
from headstart.data.sources.source import read_source
from headstart.errors import DataError, ImageError, MissingPackageError
from headstart.images import by_http, remote, remote_store
from headstart.images.photo import Photo

CONTENT = b"\xff\xd8\xff" + b"content of a photo " * 5000


class Server(ThreadingHTTPServer):
    """Answers /WORD-WORD/NAME: the first request as the first word says, and so on; then with the photo."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.photos: dict[str, bytes] = {}
        self.num_bytes = 0
        super().__init__(("127.0.0.1", 0), Handler)

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        words = self.path.split("/")[1].split("-")
        number = self.server.requests[self.path]
        self.server.requests[self.path] += 1
        self.server.times.setdefault(self.path, []).append(time.monotonic())
        word = words[number] if number < len(words) else "ok"
        content = self.server.photos.get(self.path, CONTENT)
        if word.isdecimal() or word.startswith("later"):
            self.send_response(int(word) if word.isdecimal() else 429)
            if word == "later":
                self.send_header("Retry-After", "1")
            if word == "laterdate":
                self.send_header("Retry-After", formatdate(time.time() + 2, usegmt=True))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if word == "close":
            return
        start = 0
        if self.headers.get("If-Range") == '"1"' and "tag" in self.path:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if "tag" in self.path:
            self.send_header("ETag", '"1"')
        content = content[start:]
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.server.num_bytes += len(content) // 2 if word == "cut" else len(content)
        if word == "cut":
            self.wfile.write(content[: len(content) // 2])
            return
        if word == "silent":
            time.sleep(0.5)
            return
        self.server.sent[self.path] += 1
        if word == "trickle":
            for start in range(0, len(content), 5000):
                self.wfile.write(content[start : start + 5000])
                time.sleep(0.005)
        else:
            self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def answering(server: BaseServer) -> Iterator[None]:
    """Let a server answer requests in a thread."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield
    server.shutdown()
    thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made, answering(made):
        yield made


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "STORE", remote_store.RemoteStore())
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(remote, "_FAILED", Counter())
    monkeypatch.setattr(remote, "_LEFT_ALONE", {})
    monkeypatch.setattr(by_http, "SILENCE_SECONDS", 0.2)


@pytest.mark.parametrize(
    "answers", ["500", "429", "503-429-500", "close", "cut", "silent", "cut-close-500-429", "trickle"]
)
def test_what_may_pass_is_asked_for_again_until_it_has_arrived_and_then_no_more(
    server: Server, answers: str
) -> None:
    photo = Photo(server.at(f"{answers}/a.jpg"))
    assert [photo.content() for _ in range(3)] == [CONTENT] * 3
    num_failed = 0 if answers == "trickle" else len(answers.split("-"))
    assert server.requests == {f"/{answers}/a.jpg": num_failed + 1}
    assert server.sent == {f"/{answers}/a.jpg": 1}


def test_bytes_that_have_arrived_are_not_requested_again_if_the_server_can_send_the_rest(
    server: Server,
) -> None:
    assert Photo(server.at("cut-cut-500/tagged.jpg")).content() == CONTENT
    assert server.requests.total() == 4
    assert server.num_bytes == len(CONTENT)


def test_a_photo_that_arrives_too_slowly_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TOTAL_SECONDS", 0.03)
    with pytest.raises(ImageError, match="bytes have arrived in the time for one photo"):
        Photo(server.at("trickle/a.jpg")).content()


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")]
)
def test_what_will_not_pass_is_not_asked_for_again(server: Server, status: int, words: str) -> None:
    with pytest.raises(
        ImageError, match=rf"^{server.at('')}{status}/a.jpg: cannot be read: the server answers {words}$"
    ):
        Photo(server.at(f"{status}/a.jpg")).content()
    assert server.requests.total() == 1


def test_a_photo_that_stays_unreadable_costs_one_photo_with_the_reason(server: Server) -> None:
    with pytest.raises(ImageError, match="500 Internal Server Error, after 5 tries"):
        Photo(server.at("500-500-500-500-500-500/a.jpg")).content()
    assert server.requests.total() == 5
    server.shutdown()
    server.server_close()
    with pytest.raises(ImageError, match="refused, after 5 tries"):
        Photo(server.at("ok/b.jpg")).content()


def test_a_server_that_is_down_is_not_asked_five_times_for_every_photo(server: Server) -> None:
    down = [Photo(server.at(f"500-500-500-500-500/{number}.jpg")) for number in range(8)]
    reasons = [check_photo(photo).reason for photo in down]
    assert [reason and reason.rpartition(" after ")[2] for reason in reasons] == ["5 tries"] * 5 + [
        "1 try"
    ] * 3
    Photo(server.at("ok/a.jpg")).content()
    assert Photo(server.at("500/b.jpg")).content() == CONTENT


def test_a_silent_server_does_not_cost_its_silence_for_every_photo(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "SLOW_SECONDS", 0.1)
    monkeypatch.setattr(by_http, "SILENCE_SECONDS", 0.3)
    remote._FAILED[server.at("").rstrip("/")] = remote.MOST_FAILED
    down = [Photo(server.at(f"silent/{number}.jpg")) for number in range(8)]
    reasons = [str(check_photo(photo).reason) for photo in down]
    assert reasons[0] == "cannot be read: timed out, after 1 try"
    not_requested = "not requested, because the server did not send other photos: timed"
    assert any(not_requested in each for each in reasons)
    assert server.requests.total() == 8 - sum("not requested" in each for each in reasons)
    remote._LEFT_ALONE.clear()
    assert Photo(server.at("ok/a.jpg")).content() == CONTENT
    assert down[-1].content() == CONTENT


def test_a_table_of_addresses_is_checked_with_nothing_lost_and_nothing_asked_for_twice(
    server: Server, tmp_path: Path
) -> None:
    rows = []
    for number, answers in enumerate(["ok", "500", "429-cut", "close", "trickle", "404-404", "ok", "silent"]):
        path = f"/{answers}/{number}.png"
        file = io.BytesIO()
        Image.new("RGB", (32, 32), (30 * number, 0, 0)).save(file, "PNG")
        server.photos[path] = file.getvalue()
        rows.append(f"{server.at(path[1:])},{('even', 'odd')[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
    listing = read_source(tmp_path / "labels.csv")
    assert not server.requests
    dataset = check_images(listing)
    assert [each.path for each in dataset.quarantined] == [server.at("404-404/5.png")]
    assert dataset == check_images(listing)
    assert set(server.sent.values()) == {1}
    assert len(server.sent) == len(dataset.records) == 7
    assert quarantine_csv(dataset).splitlines()[1:] == [
        f'"{server.at("404-404/5.png")}","","cannot be read: the server answers 404 Not Found"'
    ]


@pytest.mark.parametrize("word", ["later", "laterdate"])
def test_a_server_that_asks_for_a_pause_gets_it(
    server: Server, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(remote, "pause", pauses.append)
    assert Photo(server.at(f"{word}/a.jpg")).content() == CONTENT
    assert len(pauses) == 1
    assert 0.9 < pauses[0] <= 2


def test_pauses_grow_and_end_with_the_time_for_one_photo(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(remote, "pause", pauses.append)
    with pytest.raises(ImageError, match="after 5 tries"):
        Photo(server.at("500-500-500-500-500/a.jpg")).content()
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    monkeypatch.setattr(remote, "TOTAL_SECONDS", 0.5)
    with pytest.raises(ImageError, match="429 Too Many Requests, after 1 try"):
        Photo(server.at("later/b.jpg")).content()
    monkeypatch.setattr(remote, "TOTAL_SECONDS", 0.0)
    with pytest.raises(ImageError, match="bytes have arrived in the time for one photo"):
        Photo(server.at("ok/c.jpg")).content()


def test_many_threads_request_each_photo_once(server: Server) -> None:
    photos = [Photo(server.at(f"500-cut/{number % 8}.jpg")) for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(Photo.content, photos)) == {CONTENT}
    assert set(server.sent.values()) == {1}
    assert server.sent.total() == 8


def test_a_damaged_stored_photo_is_requested_again(server: Server) -> None:
    photo = Photo(server.at("ok/a.jpg"))
    photo.content()
    [(_, path, size)] = remote_store.stored_photos()
    assert size == len(CONTENT) + 32
    for damage in (path.read_bytes()[:-1], b"", b"x" * size):
        path.write_bytes(damage)
        assert photo.content() == CONTENT
    assert server.requests.total() == 4


def test_stored_photos_keep_within_their_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_store, "BUDGET_BYTES", int(2.5 * len(CONTENT)))
    old = [Photo(server.at(f"ok/{name}.jpg")) for name in "ab"]
    for photo in old:
        photo.content()
    monkeypatch.setattr(remote, "STORE", remote_store.RemoteStore())  # another process, later
    monkeypatch.setattr(remote.STORE, "_began", time.time() + 1)
    new = [Photo(server.at(f"ok/{name}.jpg")) for name in "cd"]
    for photo in [*new, *new]:
        assert photo.content() == CONTENT
    used = sum(size for _, _, size in remote_store.stored_photos())
    assert len(CONTENT) < used <= remote_store.BUDGET_BYTES


def test_photos_are_read_where_nothing_can_be_stored(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    assert Photo(server.at("ok/a.jpg")).content() == CONTENT


def test_other_addresses_are_read_with_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = __import__("fsspec")
    with fsspec.open("memory://photos/a.jpg", "wb") as file:
        file.write(CONTENT)
    photo = Photo("memory://photos/a.jpg")
    assert photo.content() == CONTENT
    fsspec.filesystem("memory").rm("photos/a.jpg")
    assert photo.content() == CONTENT  # stored
    with pytest.raises(ImageError, match=r"memory://photos/b\.jpg: no such photo"):
        Photo("memory://photos/b.jpg").content()
    with pytest.raises(ImageError, match=r"nonsense://a.jpg: cannot be read: Protocol not known: nonsense"):
        Photo("nonsense://a.jpg").content()


def test_a_missing_package_is_named_with_its_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(
        MissingPackageError, match=r"s3:// needs the package fsspec.*pip install 'headstart\[remote\]'"
    ):
        Photo("s3://photos/a.jpg").content()


@pytest.mark.parametrize(
    "address", ["http://", "http://[", "http://a b/c.jpg", "https://127.0.0.1:99999999/a"]
)
def test_what_is_no_address_is_an_error_about_one_photo(address: str) -> None:
    with pytest.raises(ImageError):
        Photo(address).content()


def test_a_remote_folder_of_class_folders_is_listed_and_trained_on_like_a_folder() -> None:
    fsspec = __import__("fsspec")
    system = fsspec.filesystem("memory")
    for number, name in enumerate(["cat/1.png", "cat/x/2.png", "dog/1.png", "dog/.3.png", "README.md"]):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
        system.pipe(f"/pets/{name}", file.getvalue())
    listing = read_source("memory://pets")
    assert [(each.path, each.class_name) for each in listing.candidates] == [
        ("memory://pets/cat/1.png", "cat"),
        ("memory://pets/cat/x/2.png", "cat"),
        ("memory://pets/dog/1.png", "dog"),
    ]
    assert (listing.root, listing.found, len(listing.ignored)) == ("memory://pets", 5, 2)
    assert len(check_images(listing).records) == 3
    assert TrainConfig("memory://pets", val="memory://other").absolute().data == "memory://pets"
    with pytest.raises(DataError, match="There is nothing at 'memory://nothing'"):
        read_source("memory://nothing")
    with pytest.raises(DataError, match=r"labels\.csv' is remote.*Download it"):
        read_source("https://127.0.0.1/labels.csv")
    system.rm("/pets", recursive=True)
