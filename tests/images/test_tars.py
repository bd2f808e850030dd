"""Photos inside tar files."""

from __future__ import annotations

import bz2
import io
import os
import pickle
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headstart.errors import DataError, ImageError
from headstart.images import tars
from headstart.images.address import exists
from headstart.images.find_tars import find_tars
from headstart.images.photo import Photo
from headstart.images.tars import members


def tar_of(path: Path, contents: dict[str, bytes | tuple[bytes, str]]) -> str:
    """Write a tar file; a tuple is a link or device: its type and its target."""
    with tarfile.open(path, "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return str(path)


def test_members_are_read_by_their_address_in_threads_and_after_pickling(tmp_path):
    contents = {f"cat/{number:03}.jpg": os.urandom(number) for number in range(200)}
    tar = tar_of(tmp_path / "0.tar", contents)
    photos = [Photo(f"{tar}/{name}") for name in contents]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Photo.content, reversed(photos))) == list(reversed(contents.values()))
    assert pickle.loads(pickle.dumps(photos[7])).content() == contents["cat/007.jpg"]
    with photos[7].open() as file:
        assert file.read(3) == contents["cat/007.jpg"][:3]


def test_names_with_needless_parts_are_the_names_that_people_write(tmp_path):
    tar = tar_of(tmp_path / "0.TAR", {"./cat/1.jpg": b"1", "/cat//2.jpg": b"2", "日本/é.jpg": b"3"})
    assert [Photo(f"{tar}/{name}").content() for name in ("cat/1.jpg", "cat/2.jpg", "日本/é.jpg")] == [
        b"1",
        b"2",
        b"3",
    ]


def test_of_two_members_with_one_name_the_last_counts(tmp_path):
    tar = str(tmp_path / "0.tar")
    for content in (b"old", b"new"):
        with tarfile.open(tar, "a") as archive:
            member = tarfile.TarInfo("a.jpg")
            member.size = 3
            archive.addfile(member, io.BytesIO(content))
    assert Photo(f"{tar}/a.jpg").content() == b"new"


def test_no_link_device_or_path_leads_out_of_a_tar_file(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    tar = tar_of(
        tmp_path / "0.tar",
        {
            "link.jpg": (tarfile.SYMTYPE, str(tmp_path / "secret.jpg")),
            "hard.jpg": (tarfile.LNKTYPE, "good.jpg"),
            "pipe.jpg": (tarfile.FIFOTYPE, ""),
            "disk.jpg": (tarfile.BLKTYPE, ""),
            "../secret.jpg": b"x",
            f"{tmp_path}/secret.jpg": b"mine",
            "good.jpg": b"good",
        },
    )
    names = [member.name for member in members(tar) if member.is_readable]
    assert names == [f"{tmp_path}/secret.jpg".lstrip("/"), "good.jpg"]
    for name in ("link.jpg", "hard.jpg", "pipe.jpg", "disk.jpg", "../secret.jpg"):
        assert not exists(f"{tar}/{name}")
        with pytest.raises(ImageError, match=r"no such photo in 0\.tar"):
            Photo(f"{tar}/{name}").content()
    assert Photo(f"{tar}/{tmp_path}/secret.jpg".replace("//", "/")).content() == b"mine"


def test_a_replaced_tar_file_is_read_anew(tmp_path):
    tar = tar_of(tmp_path / "0.tar", {"a.jpg": b"a", "b.jpg": b"b"})
    assert Photo(f"{tar}/b.jpg").content() == b"b"
    tar_of(tmp_path / "new", {"c.jpg": b"c" * 30_000, "b.jpg": b"B"})
    (tmp_path / "new").replace(tar)  # nothing holds it open
    assert Photo(f"{tar}/b.jpg").content() == b"B"
    assert not exists(f"{tar}/a.jpg")


def test_photos_before_the_damage_of_a_tar_file_can_be_read(tmp_path):
    tar = Path(tar_of(tmp_path / "0.tar", {f"{number}.jpg": b"x" * 3000 for number in range(4)}))
    tar.write_bytes(tar.read_bytes()[:9000])
    found = members(str(tar))
    assert [next(found).name for _ in range(2)] == ["0.jpg", "1.jpg"]
    with pytest.raises(ImageError, match=r"damaged after its member '\d.jpg'"):
        list(found)
    assert Photo(f"{tar}/1.jpg").content() == b"x" * 3000
    with pytest.raises(ImageError, match="no such photo"):
        Photo(f"{tar}/3.jpg").content()


def test_a_replaced_tar_file_of_the_same_size_and_time_is_read_anew(tmp_path):
    old, new = (tar_of(tmp_path / name, {"a.jpg": name.encode()}) for name in ("0.tar", "1.tar"))
    assert Photo(f"{old}/a.jpg").content() == b"0.tar"
    status = Path(old).stat()
    tar_of(tmp_path / "1.tar", {"b.jpg": b"", "a.jpg": b"1.tar"})
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    Path(new).replace(old)
    assert Path(old).stat().st_size == status.st_size
    assert Photo(f"{old}/a.jpg").content() == b"1.tar"


def test_threads_that_need_one_tar_file_list_it_once(tmp_path, monkeypatch):
    tar = tar_of(tmp_path / "0.tar", {f"{number}.jpg": b"x" for number in range(16)})
    together, opened = threading.Barrier(16), []
    original = tarfile.open

    def slowly(**words):
        opened.append(1)
        time.sleep(0.02)
        return original(**words)

    monkeypatch.setattr(tars.tarfile, "open", slowly)

    def read(number):
        together.wait()
        return Photo(f"{tar}/{number}.jpg").content()

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(read, range(16))) == [b"x"] * 16
    assert opened == [1]


def test_known_members_keep_within_their_limit_and_those_of_the_tar_file_in_use_stay(tmp_path, monkeypatch):
    names = [f"{number}.jpg" for number in range(10)]
    files = [
        tar_of(tmp_path / f"{number}.tar", {name: name.encode() for name in names}) for number in range(4)
    ]
    monkeypatch.setattr(tars, "_MOST_INDEX_BYTES", 2 * 16 * len(names))
    for tar in (*files, files[0], files[3], files[1]):
        assert Photo(f"{tar}/3.jpg").content() == b"3.jpg"
    known = tars._INDEXES._known
    assert list(known) == [files[3], files[1]]
    assert sum(each.num_bytes for each in known.values()) == tars._INDEXES._num_bytes


def test_nothing_behind_an_empty_block_is_lost_silently(tmp_path):
    """A block is empty at the end, in a file that was not downloaded whole, and where files were joined."""
    one, other = (tar_of(tmp_path / f"{name}.tar", {f"{name}.jpg": b"x"}) for name in "ab")
    joined = tmp_path / "joined.tar"
    joined.write_bytes(Path(one).read_bytes() + Path(other).read_bytes())
    hole = Path(tar_of(tmp_path / "hole.tar", {f"{number}.jpg": b"x" * 512 for number in range(4)}))
    hole.write_bytes(hole.read_bytes()[:1024] + bytes(1024) + hole.read_bytes()[2048:])
    for tar in (joined, hole):
        with pytest.raises(ImageError, match=r"damaged after its member.*an empty block follows.*more data"):
            list(members(str(tar)))
        with pytest.raises(ImageError, match=r"no such photo in .*, which is damaged after"):
            Photo(f"{tar}/b.jpg").content()
    with open(one, "ab") as file:
        file.truncate(2**20)
    assert [member.name for member in members(one)] == ["a.jpg"]  # zeros to the end of a tape's record
    with open(one, "ab") as file:
        file.truncate(2**25)
    with pytest.raises(ImageError, match="nothing but zeros follows"):
        list(members(one))


def test_a_header_that_no_program_writes_is_a_damage(tmp_path):
    path = tmp_path / "0.tar"
    nested = tarfile.TarInfo("././@LongLink")
    nested.type = tarfile.GNUTYPE_LONGNAME
    nested.size = 1
    huge = bytearray(tarfile.TarInfo("huge.jpg").tobuf(tarfile.GNU_FORMAT))
    huge[124:136] = b"\x80" + b"\xff" * 11  # its size, in base 256
    huge[148:156] = b"%06o\0 " % (sum(huge[:148]) + 8 * 32 + sum(huge[156:]))
    for content in ((nested.tobuf(tarfile.GNU_FORMAT) + b"x".ljust(512, b"\0")) * 2000, bytes(huge)):
        tar_of(path, {"good.jpg": b"good"})
        path.write_bytes(path.read_bytes()[:1024] + content + bytes(10240))
        with pytest.raises(ImageError, match=r"damaged after its member '(good|huge)\.jpg'"):
            list(members(str(path)))
        assert Photo(f"{path}/good.jpg").content() == b"good"


def test_a_tar_file_may_begin_like_a_compressed_one(tmp_path):
    tar = tar_of(tmp_path / "0.tar", {"BZh9/1.jpg": b"x"})
    assert [member.name for member in members(tar)] == ["BZh9/1.jpg"]
    Path(tar).write_bytes(bz2.compress(Path(tar).read_bytes()))
    with pytest.raises(ImageError, match=r"compressed tar file.*bzip2 -d 0\.tar"):
        list(members(tar))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1f\x8b\x08" + bytes(600), "compressed tar file.*gzip -d 0.tar"),
        (b"hello", "not a tar file"),
        (b"x" * 2000, "not a tar file"),
    ],
)
def test_other_files_are_no_tar_files(tmp_path, content, reason):
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        list(members(str(tmp_path / "0.tar")))


def test_a_folder_or_a_range_names_several_tar_files(tmp_path):
    (tmp_path / "train").mkdir()
    tars = [tar_of(tmp_path / "train" / f"s-{number:03}.tar", {"a.jpg": b"a"}) for number in range(9, 12)]
    assert find_tars(str(tmp_path)) == find_tars(str(tmp_path / "train" / "s-{009..011}.tar")) == tars
    assert find_tars(tars[0]) == tars[:1]
    assert find_tars(str(tmp_path / "gone.tar")) == []
    with pytest.raises(DataError, match=r"4 tar files, of which 1 do.* not exist, such as .*s-012"):
        find_tars(str(tmp_path / "train" / "s-{009..012}.tar"))
    with pytest.raises(DataError, match="empty or too long"):
        find_tars(str(tmp_path / "s-{5..1}.tar"))
    assert find_tars(str(tmp_path / f"s-{{0..{10**30}}}.tar")) == []
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    assert find_tars(str(tmp_path)) == []  # a folder of photos, with tar files beside them


def test_a_compressed_tar_file_is_refused_by_its_name(tmp_path):
    (tmp_path / "0.tgz").write_bytes(b"\x1f\x8b\x08")
    for data in (tmp_path, tmp_path / "0.tgz"):
        with pytest.raises(DataError, match=r"0\.tgz' is a compressed tar file.*gzip -d 0\.tgz"):
            find_tars(str(data))
