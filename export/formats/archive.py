"""Reproducible zip archives: the same content gives the same bytes, on any machine and at any time."""

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date that the format can store
_PLAIN_FILE = 0o100644 << 16
_LOCAL_HEADER = 30  # bytes before the name of an entry
_ALIGNMENT = 64  # torch aligns each entry's content to this many bytes, so that weights can be memory-mapped
_PADDING_ID = 0x4246  # header id of the extra field that torch uses as padding

_SERIALIZATION_ID = "archive/.data/serialization_id"
_DEBUG = ".debug_pkl"  # source lines with the paths of their files
_MANGLED = re.compile(rb"\.___torch_mangle_\d+")  # suffix that depends on what the process scripted before


def zip_bytes(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of `entries` (name → content), in their order. compression: a constant of `zipfile`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = compression
            info.create_system = 3  # Unix, on every platform
            info.external_attr = _PLAIN_FILE
            start = buffer.tell() + _LOCAL_HEADER + len(name.encode()) + 4
            padding = -start % _ALIGNMENT
            info.extra = struct.pack("<HH", _PADDING_ID, padding) + b"Z" * padding
            archive.writestr(info, content)
    return buffer.getvalue()


def normalise_torch_archive(content: bytes) -> bytes:
    """Make a `.pt` or `.pt2` archive reproducible: remove paths, and all that differs between processes.

    The serialization id becomes a digest of the content, and TorchScript class names lose their mangled suffix.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if not name.endswith(_DEBUG)}
    entries = {_unmangle_path(name): _unmangle(name, entry) for name, entry in entries.items()}
    entries.pop(_SERIALIZATION_ID)
    digest = hashlib.sha256()
    for name, entry in entries.items():
        digest.update(f"{name} {len(entry)}\n".encode() + entry)
    # torch writes an id of 40 decimal digits.
    entries[_SERIALIZATION_ID] = f"{int.from_bytes(digest.digest()[:16], 'big'):040d}".encode()
    return zip_bytes(entries)


def _unmangle_path(name: str) -> str:
    """code/__torch__/export/graphs/___torch_mangle_3.py → code/__torch__/export/graphs.py."""
    return re.sub(r"/___torch_mangle_\d+\.py$", ".py", name)


def _unmangle(name: str, entry: bytes) -> bytes:
    """Remove the suffix where class names are plain text without a length prefix: in code and in the data pickle."""
    return _MANGLED.sub(b"", entry) if name.endswith(".py") or name == "archive/data.pkl" else entry
