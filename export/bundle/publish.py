"""Publishing a bundle: built in a hidden folder beside its place, then moved there all at once or not at all."""

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

_SHOWN = 3  # names in a message


def check_output(output: Path, *, force: bool) -> None:
    """Refuse, before the slow part, a place that holds anything but a bundle. Raises ExportError.

    force: accept a folder with other files in it; they stay, except those that have the name of a file of the bundle.
    """
    if output.exists() and not output.is_dir():
        raise ExportError(f"{output}: is a file, and a bundle is a folder; choose another --output")
    foreign = _foreign(output)
    if foreign and not force:
        names = ", ".join(path.name for path in foreign[:_SHOWN]) + (", …" if len(foreign) > _SHOWN else "")
        raise ExportError(
            f"{output}: holds something that is no part of a bundle ({names}); "
            "choose another --output, or --force to write beside it"
        )


@contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A new folder that becomes `output` when the block ends well; whatever else happens, `output` stays as it was.

    Files in `output` that no bundle put there are kept. Raises ExportError where the operating system refuses.
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
    """What lies in the folder `output` and is not part of the bundle there, if there is one."""
    if not output.is_dir():
        return []
    ours: set[str] = set()
    with suppress(BundleError):  # then no file there is known to be ours
        ours = {MANIFEST_NAME, *Bundle.open(output).manifest.files}
    return sorted(path for path in output.iterdir() if path.name not in ours)
