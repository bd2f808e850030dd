"""A photo: its name and the function that reads its bytes, wherever they are stored."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from headstart.errors import ImageError, MissingPackageError
from headstart.images.address import is_file, read_address


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that can be read: a file, an upload, a member of an archive, a remote object.

    Attributes:
        key: Names the photo in messages and tables (column ``path``), and differs from that of every other
            photo of a listing. By default it is the photo's address: the path of a file, of a member of a tar
            file (``shards/0.tar/cat/1.jpg``) or of a row of a Parquet file (``a.parquet/row 7 cat.jpg``), or
            a remote address (``https://...``).
        read: Called with the key, it returns the content of an image file (JPEG, PNG, ...) as bytes. Any
            exception means that this photo cannot be read. It is called each time the photo is needed, from
            several threads at once, and is pickled with the photo. Photos from one place share one function,
            so that a listing of a million photos stays small.
    """

    key: str
    read: Callable[[str], bytes] = read_address

    def content(self) -> bytes:
        """Return the bytes of the photo.

        Raises:
            ImageError: They cannot be read.
            MissingPackageError: Photos at such addresses need another package.
        """
        try:
            content = self.read(self.key)
        except (ImageError, MissingPackageError):
            raise
        except OSError as error:
            raise ImageError(self.key, f"cannot be read: {error.strerror or error}") from error
        except Exception as error:  # such as KeyError, for a member that an archive does not have
            raise ImageError(self.key, f"cannot be read: {type(error).__name__}: {error}") from error
        if not isinstance(content, bytes):
            raise ImageError(self.key, f"cannot be read: bytes are needed, but read returned {content!r:.60}")
        return content

    def open(self) -> BinaryIO:
        """Open the photo, to read its header: only the needed part of a file is read from disk.

        Raises:
            ImageError: The photo cannot be read.
            OSError: The file cannot be opened.
        """
        if self.read is read_address and is_file(self.key):
            return open(self.key, "rb")
        return io.BytesIO(self.content())

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes in lower-case hexadecimal; empty if they cannot be read."""
        try:
            return hashlib.sha256(self.content()).hexdigest()
        except ImageError:
            return ""
