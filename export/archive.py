"""Zip archives with the same bytes for the same content: no dates, no permissions, nothing of the machine."""

import io
import zipfile
from collections.abc import Mapping

_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say
_PLAIN_FILE = 0o100644 << 16


def zip_bytes(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of `entries`, in their order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = compression
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = _PLAIN_FILE
            archive.writestr(info, content)
    return buffer.getvalue()
