"""Zip archives with the same bytes for the same content: no dates, no permissions, nothing of the machine."""

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Mapping

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say
_PLAIN_FILE = 0o100644 << 16
_LOCAL_HEADER = 30
_ALIGNMENT = 64  # of each entry's content, as torch keeps it, so that weights can be mapped into memory
_PADDING_ID = 0x4246  # the extra field that torch pads with

_SERIALIZATION_ID = "archive/.data/serialization_id"
_DEBUG = ".debug_pkl"  # source lines and the paths of the files they came from
_MANGLED = re.compile(rb"\.___torch_mangle_\d+")  # counts what this process scripted before


def zip_bytes(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of `entries`, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = compression
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = _PLAIN_FILE
            start = buffer.tell() + _LOCAL_HEADER + len(name.encode()) + 4
            padding = -start % _ALIGNMENT
            info.extra = struct.pack("<HH", _PADDING_ID, padding) + b"Z" * padding
            archive.writestr(info, content)
    return buffer.getvalue()


def normalise_torch_archive(content: bytes) -> bytes:
    """A `.pt` or `.pt2` archive with everything out that changes from process to process or names a path.

    The id of the archive becomes a digest of what is in it, and a TorchScript class gets its own name back.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if not name.endswith(_DEBUG)}
    entries = {_unmangle_path(name): _unmangle(name, entry) for name, entry in entries.items()}
    entries.pop(_SERIALIZATION_ID)
    digest = hashlib.sha256()
    for name, entry in entries.items():
        digest.update(f"{name} {len(entry)}\n".encode() + entry)
    # torch writes forty decimal digits.
    entries[_SERIALIZATION_ID] = f"{int.from_bytes(digest.digest()[:16], 'big'):040d}".encode()
    return zip_bytes(entries)


def _unmangle_path(name: str) -> str:
    """code/__torch__/export/graphs/___torch_mangle_3.py → code/__torch__/export/graphs.py."""
    return re.sub(r"/___torch_mangle_\d+\.py$", ".py", name)


def _unmangle(name: str, entry: bytes) -> bytes:
    """Class names are plain text in the code, and lines of the pickle that no length precedes."""
    return _MANGLED.sub(b"", entry) if name.endswith(".py") or name == "archive/data.pkl" else entry
