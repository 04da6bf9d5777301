"""The data of a disk: blocks of its file, encrypted by AES-256-XTS under its data key."""

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from filer.disks.header import BLOCK_SIZE, DATA_OFFSET, DiskError
from filer.disks.wrapping import DataKey
from filer.host.durable import Storage


class Unreadable(DiskError):
    """The data of the disk called ``disk`` cannot be read."""

    def __init__(self, disk: str, reason: str) -> None:
        super().__init__(f"{disk}: {reason}")
        self.disk = disk


def _offset(number: int) -> int:
    return DATA_OFFSET + number * BLOCK_SIZE


class Data(NamedTuple):
    """The data of the disk called ``name``: ``blocks`` blocks in its file, which has ``inode``.

    Every method raises `Unreadable` if the file cannot be read, and `StorageError` if it cannot be
    written.
    """

    name: str
    path: Path
    storage: Storage
    blocks: int
    key: DataKey
    inode: int

    def read(self, number: int) -> bytes:
        """Return block ``number``; a block that was never written, or zeroed, reads as zeros."""
        cipher = self._cipher(number).decryptor()
        try:
            data = self.storage.read(self.path, _offset(number), BLOCK_SIZE)
        except OSError as error:
            raise self._unreadable(error) from error
        if len(data) != BLOCK_SIZE:
            raise Unreadable(self.name, "damaged: the file is too short")
        return cipher.update(data) + cipher.finalize() if any(data) else data

    def write(self, number: int, data: bytes) -> None:
        """Write ``data``, exactly `BLOCK_SIZE` bytes, to block ``number``."""
        if len(data) != BLOCK_SIZE:
            raise ValueError(f"a block has {BLOCK_SIZE} bytes")
        self._write(number, self._encrypted(number, data))

    def copy(self, source: "Data", numbers: range) -> None:
        """Copy the blocks ``numbers``, which are consecutive, from ``source``, in one write.

        Nothing is written if none of them was ever written on either disk.
        """
        if source._were_never_written(numbers) and self._were_never_written(numbers):
            return
        blocks = ((number, source.read(number)) for number in numbers)
        encrypted = (
            self._encrypted(number, data) if any(data) else data for number, data in blocks
        )
        self._write(numbers.start, b"".join(encrypted))

    def zero(self, numbers: range) -> None:
        """Zero the blocks ``numbers``, which are consecutive; zeros are not encrypted.

        Those that read as zeros are written too: after a failed sync, they may not be durable.
        """
        self._check(numbers.start)
        if not self._were_never_written(numbers):
            self._write(numbers.start, bytes(len(numbers) * BLOCK_SIZE))

    def _were_never_written(self, numbers: range) -> bool:
        try:
            size = len(numbers) * BLOCK_SIZE
            return self.storage.is_hole(self.path, _offset(numbers.start), size)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> Unreadable:
        return Unreadable(self.name, f"cannot be read: {error.strerror}")

    def _encrypted(self, number: int, data: bytes) -> bytes:
        cipher = self._cipher(number).encryptor()
        return cipher.update(data) + cipher.finalize()

    def _write(self, number: int, encrypted: bytes) -> None:
        self.storage.overwrite(self.path, _offset(number), encrypted, self.inode)

    def _cipher(self, number: int) -> Cipher[XTS]:
        self._check(number)
        return Cipher(AES(self.key.reveal()), XTS(number.to_bytes(16, "little")))

    def _check(self, number: int) -> None:
        if number not in range(self.blocks):
            raise DiskError(f"{self.name}: no block {number}")
