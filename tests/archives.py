"""Zips for tests: as they should be, as they should not be, and encrypted as THINGS encrypts its images."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
import zlib


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    """The bytes of a zip of path to bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, body in files.items():
            packed.writestr(name, body)
    return buffer.getvalue()


def with_link(name="a/link", to="/etc/passwd"):
    """A zip with a symbolic link."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        info = zipfile.ZipInfo(name)
        info.create_system = 3
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        packed.writestr(info, to)
    return buffer.getvalue()


class Cipher:
    """PKWARE's stream cipher, written from APPNOTE 6.1: three keys, one byte at a time."""

    def __init__(self, password: bytes) -> None:
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self._update(byte)

    def _update(self, byte: int) -> None:
        first, second, third = self.keys
        first = self._crc(first, byte)
        second = ((second + (first & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        self.keys = [first, second, self._crc(third, second >> 24)]

    @staticmethod
    def _crc(value: int, byte: int) -> int:
        return (zlib.crc32(bytes([byte]), value ^ 0xFFFFFFFF) ^ 0xFFFFFFFF) & 0xFFFFFFFF

    def encrypt(self, body: bytes) -> bytes:
        out = bytearray()
        for byte in body:
            key = (self.keys[2] | 2) & 0xFFFF
            out.append(byte ^ ((key * (key ^ 1)) >> 8 & 0xFF))
            self._update(byte)
        return bytes(out)


def encrypted(files, password, method=0):
    """The bytes of a stored zip that is encrypted; another ``method`` is one that Python does not know."""
    local, central = bytearray(), bytearray()
    for name, body in files.items():
        crc, raw = zlib.crc32(body), name.encode()
        header = random.Random(name).randbytes(11) + bytes([crc >> 24])
        data = Cipher(password.encode()).encrypt(header + body)
        fields = struct.pack(
            "<HHHHHLLLHH", 20, 1, method, 0, 0, crc, len(data), len(body), len(raw), 0
        )
        central += b"PK\x01\x02" + struct.pack("<H", 20) + fields
        central += struct.pack("<HHHLL", 0, 0, 0, 0, len(local)) + raw
        local += b"PK\x03\x04" + fields + raw + data
    end = (0, 0, len(files), len(files), len(central), len(local), 0)
    return bytes(local + central + b"PK\x05\x06" + struct.pack("<HHHHLLH", *end))
