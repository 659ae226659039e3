"""Atomic publishing of a bundle: it is built in a hidden folder beside its destination, then renamed."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from export.errors import ExportError
from runtime.bundle import Bundle
from runtime.errors import BundleError, OutputError
from runtime.manifest import MANIFEST_NAME

_MAX_NAMES = 3  # listed in a message


def check_output(output: Path, *, force: bool) -> None:
    """Check, before the slow part, that `output` is missing, empty or a bundle. Raises ExportError otherwise.

    force: also accept a folder with other files. They are kept, except those with the name of a file of the bundle.
    """
    if output.exists() and not output.is_dir():
        raise ExportError(f"{output}: is a file, but a bundle is a folder; choose another --output")
    foreign = _foreign(output)
    if foreign and not force:
        names = ", ".join(path.name for path in foreign[:_MAX_NAMES]) + (", …" if len(foreign) > _MAX_NAMES else "")
        raise ExportError(
            f"{output}: holds files that are not part of a bundle ({names}); "
            "choose another --output, or keep them and write beside them with --force"
        )


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A new folder that replaces `output` when the block ends; if it raises, `output` stays as it was.

    Files in `output` that are not part of a bundle are kept. Raises ExportError where writing fails.
    """
    output = output.resolve()
    token = secrets.token_hex(4)
    folder, old = (output.with_name(f".{output.name}.{kind}-{token}") for kind in ("new", "old"))
    try:
        folder.mkdir(parents=True)
        yield folder
        _replace(output, folder, old)
    except (OSError, OutputError) as error:
        reason = error.__cause__ if isinstance(error, OutputError) else error
        raise ExportError(f"cannot write {output}: {getattr(reason, 'strerror', None) or reason}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(output: Path, folder: Path, old: Path) -> None:
    kept = [path.name for path in _foreign(output) if not (folder / path.name).exists()]
    if output.exists():
        output.rename(old)
    moved = []
    try:
        for name in kept:
            (old / name).rename(folder / name)
            moved.append(name)
        folder.rename(output)
    except BaseException:
        for name in moved:
            (folder / name).rename(old / name)
        if old.exists():
            old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _foreign(output: Path) -> list[Path]:
    """Paths in the folder `output` that are not part of a bundle there."""
    if not output.is_dir():
        return []
    known: set[str] = set()
    with suppress(BundleError):  # without a readable manifest, no file counts as part of a bundle
        known = {MANIFEST_NAME, *Bundle.open(output).manifest.files}
    return sorted(path for path in output.iterdir() if path.name not in known)
