"""Answers of servers that are wrong, odd or hostile, byte for byte, and addresses as people write them."""

from __future__ import annotations

import gzip
import socketserver
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.images.test_remote import CONTENT, answering

from headstart.data.sources.source import read_source
from headstart.errors import DataError, HeadstartError, ImageError
from headstart.images import by_http, remote, remote_store
from headstart.images.by_http import quoted
from headstart.images.photo import Photo
from headstart.images.remote import list_remote

HALF = len(CONTENT) // 2


class Server(socketserver.ThreadingTCPServer):
    """Answers each path with its next answer, and records the first lines and headers of requests."""

    daemon_threads = allow_reuse_address = True

    def __init__(self) -> None:
        self.answers: dict[str, list[bytes]] = {}
        self.requests: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def at(self, path: str, *answers: bytes) -> str:
        self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        lines = [*iter(lambda: self.rfile.readline().strip().decode("latin-1"), "")]
        self.server.requests.append("\n".join(lines))
        self.wfile.write(self.server.answers[lines[0].split()[1]].pop(0))


def answer(
    content: bytes = CONTENT, status: str = "200 OK", length: int | None = -1, **headers: str
) -> bytes:
    """Return an answer; the length is that of the content, another one, or missing."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if length is not None:
        headers["Content-Length"] = str(len(content) if length == -1 else length)
    lines = [f"HTTP/1.1 {status}", "Connection: close", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


def part(start: int, end: int, **headers: str) -> bytes:
    span = f"bytes {start}-{end - 1}/{len(CONTENT)}"
    return answer(CONTENT[start:end], "206 Partial Content", Content_Range=span, **headers)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made, answering(made):
        yield made


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    by_http._authorization.cache_clear()
    monkeypatch.setattr(remote, "STORE", remote_store.RemoteStore())
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(remote, "_FAILED", Counter())
    monkeypatch.setattr(remote, "_LEFT_ALONE", {})


CUT = answer(CONTENT[:HALF], length=len(CONTENT), ETag='"1"')


@pytest.mark.parametrize(
    ("answers", "num_requests"),
    [
        ([part(0, HALF), answer()], 2),  # a part that nobody asked for
        ([part(0, HALF, ETag='"1"'), part(HALF, len(CONTENT), ETag='"1"')], 2),  # the same, with a version
        ([CUT, part(HALF, HALF + 99, ETag='"1"'), part(HALF + 99, len(CONTENT), ETag='"1"')], 3),  # in pieces
        ([CUT, part(HALF, len(CONTENT), ETag='"2"'), answer()], 3),  # the photo has changed
        ([CUT, part(HALF - 9, len(CONTENT), ETag='"1"'), answer()], 3),  # bytes that have arrived
        ([CUT, answer(b"", "206 Partial Content", ETag='"1"'), answer()], 3),
        ([CUT, answer(b"", "416 Range Not Satisfiable"), answer()], 3),
        ([CUT, answer()], 2),  # all bytes in place of the others
        ([answer(b"", "503 Busy", Retry_After="nan"), answer()], 2),
        ([answer(b"", "429 Slow", Retry_After="-1"), answer()], 2),
        ([answer(b"99999\r\nabc", length=None, Transfer_Encoding="chunked"), answer()], 2),
        ([b"not HTTP at all\r\n\r\n", answer(length=None)], 2),
        ([answer(gzip.compress(CONTENT), Content_Encoding="GZIP")], 1),  # as objects are stored in S3
        ([answer(length=None, Content_Length="\N{SUPERSCRIPT TWO}")], 1),
    ],
)
def test_wrong_answers_never_become_a_photo(server: Server, answers: list[bytes], num_requests: int) -> None:
    address = server.at("/a.jpg", *answers)
    assert [Photo(address).content() for _ in range(2)] == [CONTENT] * 2
    assert len(server.requests) == num_requests


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (answer(gzip.compress(CONTENT)[:-50], Content_Encoding="gzip"), "encoding gzip, but damaged"),
        (answer(Content_Encoding="br"), "encoding 'br', which was not requested"),
        (answer(b"", "302 Found", Location="file:///etc/hostname"), "the server answers 302 .*not allowed"),
        (answer(b"", "302 Found", Location="x://h?token=SECRET"), r"'x://h\?token=\*\*\*' is not allowed"),
        (answer(b"", "302 Found", Location="ftp://127.0.0.1:1/a.jpg"), "refused"),
    ],
)
def test_other_answers_are_errors_in_one_line(server: Server, reply: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        Photo(server.at("/a.jpg", *[reply] * 5)).content()
    assert "\n" not in str(caught.value)


def test_a_page_in_place_of_a_photo_is_not_stored(server: Server) -> None:
    address = server.at("/a.jpg", answer(b"<html>Log in first"), answer(b""), answer())
    assert [Photo(address).content() for _ in range(4)] == [b"<html>Log in first", b"", CONTENT, CONTENT]
    assert len(server.requests) == 3


def test_a_server_that_answers_404_is_not_down(server: Server) -> None:
    remote._FAILED[server.at("")] = remote.MOST_FAILED
    with pytest.raises(ImageError, match="404"):
        Photo(server.at("/a.jpg", answer(b"", "404 Not Found"))).content()
    assert Photo(server.at("/b.jpg", answer(b"", "500 Error"), answer())).content() == CONTENT


def test_photos_that_arrive_too_slowly_count_as_failures(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TOTAL_SECONDS", 0.0)
    with pytest.raises(ImageError, match="bytes have arrived in the time for one photo, after 1 try"):
        Photo(server.at("/a.jpg", answer())).content()
    assert remote._FAILED.total() == 1


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("/a b.jpg", "/a%20b.jpg"),
        ("/\xe9/日.jpg?größe=1 0", "/%C3%A9/%E6%97%A5.jpg?gr%C3%B6%C3%9Fe=1%200"),
        ("/100%.jpg", "/100%25.jpg"),
        ("/a%20b.jpg?x=%2F&y=[1]", "/a%20b.jpg?x=%2F&y=[1]"),
        ("/a\r\nX-Evil: 1.jpg", "/a%0D%0AX-Evil:%201.jpg"),
    ],
)
def test_addresses_are_sent_as_a_browser_sends_them(server: Server, written: str, sent: str) -> None:
    address = server.at(written)
    server.at(sent, answer())
    assert Photo(address).content() == CONTENT
    assert server.requests[0].split("\n")[0] == f"GET {sent} HTTP/1.1"
    assert quoted("https://bücher.example:80/ü") == "https://xn--bcher-kva.example:80/%C3%BC"


def test_a_password_of_netrc_is_sent_to_its_server_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(
        "machine 127.0.0.1 login me password secret\ndefault login all password s"
    )
    port = server.server_address[1]
    away = answer(b"", "302 Found", Location=f"http://localhost:{port}/b.jpg")
    server.at("/b.jpg", answer())
    assert Photo(server.at("/a.jpg", away)).content() == CONTENT
    assert ["Authorization: Basic bWU6c2VjcmV0" in request for request in server.requests] == [True, False]


def test_passwords_and_signatures_are_in_no_message_and_no_password_in_a_listing(tmp_path: Path) -> None:
    addresses = ["https://me:SE@CRET@h.example/a.jpg", "sftp://me:SECRET@h.example/b.jpg"]
    for address in addresses:
        with pytest.raises(ImageError, match=r"//\*\*\*@h.example/.*contains a password.*netrc") as caught:
            Photo(address).content()
        assert "CRET" not in f"{caught.value} {caught.value.path} {caught.value.reason}"
    remote.refuse_password("https://h.example:80/a;key=1/b@c:d.jpg?token=1")
    with pytest.raises(DataError, match="contains a password"):
        read_source("s3://key:SECRET@bucket/photos")
    signed = "https://h.example/c.jpg?x=1&X-Amz-Signature=SECRET&sig=SECRET"
    hidden = signed.replace("SECRET", "***")
    assert str(HeadstartError(f"{signed!r} and {signed}: gone")) == f"{hidden!r} and {hidden}: gone"
    rows = [f"{address},{'ab'[number % 2]}" for number, address in enumerate([*addresses, signed])]
    rows += [f"https://h.example/{number}.jpg,{'ab'[number % 2]}" for number in range(300)]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows]))
    with pytest.raises(DataError, match=r"no such photo: 'https://\*\*\*@h") as missing:
        read_source(tmp_path / "t.csv", images=tmp_path)  # with a folder, addresses are only names
    assert "CRET" not in str(missing.value)
    listing = read_source(tmp_path / "t.csv")
    assert {each.path for each in listing.quarantined} == {
        "https://***@h.example/a.jpg",
        "sftp://***@h.example/b.jpg",
    }
    assert "CRET" not in f"{listing.quarantined} {listing.notes}"
    assert any("1 address contains a signature" in note for note in listing.notes)


def test_a_file_address_is_a_path_and_is_not_stored(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"a {number}.jpg").write_bytes(CONTENT)
    start = tmp_path.as_uri()
    rows = [f"{start}/a%20{number}.jpg,{'ab'[number % 2]}" for number in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows]))
    assert [each.path for each in read_source(tmp_path / "t.csv").candidates] == [
        str(tmp_path / f"a {number}.jpg") for number in range(4)
    ]
    with pytest.raises(DataError, match="There is no file or folder 'file:"):
        read_source(start)
    with pytest.raises(ImageError, match="without file://"):
        Photo(f"{start}/a%200.jpg").content()
    assert not remote_store.stored_photos()


def test_addresses_of_a_listed_folder_keep_what_its_own_address_has(monkeypatch: pytest.MonkeyPatch) -> None:
    core, system = __import__("fsspec.core").core, __import__("fsspec").filesystem("memory")
    for name in ("cat/1.jpg", "dog/2.jpg"):
        system.pipe(f"/pets/{name}", CONTENT)
    monkeypatch.setattr(core, "url_to_fs", lambda address: (system, "/pets"))  # as sftp leaves the host out
    for folder in ("sftp://me@host/pets", "abfs://container@account.example/pets/"):
        start = folder.rstrip("/")
        assert list_remote(folder) == [
            (f"{start}/cat/1.jpg", "cat/1.jpg"),
            (f"{start}/dog/2.jpg", "dog/2.jpg"),
        ]
    chained = list_remote("zip://pets::https://host/a.zip")
    assert chained[0] == ("zip://pets/cat/1.jpg::https://host/a.zip", "cat/1.jpg")
    system.rm("/pets", recursive=True)


def test_what_cannot_be_written_takes_up_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    store = remote_store.RemoteStore()
    store.put("https://h.example/0.jpg", CONTENT)
    used = store._num_bytes
    assert used == sum(size for _, _, size in remote_store.stored_photos()) > 0

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        store.put("https://h.example/1.jpg", CONTENT)
    assert store._num_bytes == used
    [(_, path, _)] = remote_store.stored_photos()
    path.write_bytes(b"damaged")
    assert store.get("https://h.example/0.jpg") is None
    store.put("https://h.example/0.jpg", CONTENT)
    assert store._num_bytes <= used + used
