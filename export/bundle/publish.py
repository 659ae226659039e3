"""Publishes a folder, such as a bundle, atomically: it is built in a hidden folder beside its place, then swapped in.

The publisher holds a lock from the first check to the end. The new and the old folder are exchanged in one step where
the system supports that, so that a reader finds one bundle or the other at every instant. A user's own files in the old
folder are hard-linked into the new one first, so that they are never missing either. Without support, the old bundle
is renamed first; if the process is killed before the second rename, the next export restores it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from runtime.bundle import Bundle
from runtime.errors import BundleError, OutputError
from runtime.files.atomic import flush_to_disk
from runtime.files.exchange import exchange
from runtime.files.owner import lock_beside, owning
from runtime.files.regular import follow
from runtime.manifest import MANIFEST_NAME
from runtime.signature import SIGNATURE_NAME

_SHOWN = 3  # names in a message
_TOKEN_BYTES = 4  # random, in the name of a hidden folder
# Hidden folders, `.NAME.ROLE-TOKEN`: a folder in the making; one that is whole, or the one that it has replaced; and
# one that was moved aside where two folders cannot change places.
_DRAFT, _SWAP, _OLD = "draft", "swap", "old"


@dataclass(frozen=True)
class Kind:
    """What is published: how to tell its files from a user's, and what to say where others are in the way."""

    noun: str
    option: str
    """The option that names the folder."""
    record: str
    """The file that says which files are ours."""
    files: Callable[[Path], set[str]]
    """Names of what is ours in a folder; none where there is no readable record."""


def _bundle_files(folder: Path) -> set[str]:
    try:
        return {MANIFEST_NAME, SIGNATURE_NAME, *Bundle.open(folder).manifest.files}
    except BundleError:
        return set()


BUNDLE = Kind("a bundle", "--output", MANIFEST_NAME, _bundle_files)


@contextmanager
def publishing(output: Path, *, force: bool, kind: Kind = BUNDLE) -> Iterator[Path]:
    """A new folder that replaces `output` when the block ends; if it raises, `output` stays as it was.

    force: accept an `output` with files that are not part of a bundle. They are kept, except those with the name of a
    file of the new bundle. Removes what a killed export left. Raises ExportError before the block where `output` holds
    other files or another process is writing it, and where writing fails.
    """
    made: list[Path] = []  # parents that were missing, to be removed again where nothing is published
    try:
        place = _place(output, kind)
        _make_parents(place, made)
        with owning(output, lock_beside(place)):
            _clear(place, kind)
            _check(output, place, kind, force=force)
            draft = _hidden(place, _DRAFT)
            try:
                draft.mkdir()
                yield draft
                _publish(place, draft, kind)
            finally:
                _clear_in_any_case(place, kind)
    except (OSError, OutputError) as error:
        if isinstance(error, OutputError) and error.__cause__ is None:
            raise ExportError(str(error)) from error
        reason = error.__cause__ if isinstance(error, OutputError) else error
        raise ExportError(f"cannot write {output}: {getattr(reason, 'strerror', None) or reason}") from error
    finally:
        for parent in reversed(made):
            with suppress(OSError):  # it holds something by now
                parent.rmdir()


def _make_parents(place: Path, made: list[Path]) -> None:
    for parent in reversed(place.parents):
        if not parent.is_dir():
            parent.mkdir(exist_ok=True)
            made.append(parent)


def check_place(output: Path, *, kind: Kind = BUNDLE) -> None:
    """Raise ExportError, as `publishing` would, where `output` is or holds something that is not ours."""
    _check(output, _place(output, kind), kind, force=False)


def _place(output: Path, kind: Kind) -> Path:
    place = follow(output)
    if not place.name:
        raise ExportError(f"{output}: is the root of the file system; choose another {kind.option}")
    return place


def _check(output: Path, place: Path, kind: Kind, *, force: bool) -> None:
    if place.is_symlink():  # though links have been followed
        raise ExportError(f"cannot write {output}: the link leads in a circle; choose another {kind.option}")
    if place.exists() and not place.is_dir():
        raise ExportError(f"{output}: is a file, but {kind.noun} is a folder; choose another {kind.option}")
    foreign = _foreign(place, kind)
    if foreign and not force:
        names = ", ".join(path.name for path in foreign[:_SHOWN]) + (", …" if len(foreign) > _SHOWN else "")
        beside = ", or keep them and write beside them with --force" if kind is BUNDLE else ""
        raise ExportError(
            f"{output}: holds files that are not part of {kind.noun} ({names}); choose another {kind.option}{beside}"
        )


def _publish(place: Path, draft: Path, kind: Kind) -> None:
    """Put the finished `draft` at `place`; what was there is then in a hidden folder, for `_clear` to remove."""
    for path in draft.rglob("*"):
        if path.is_file():
            flush_to_disk(path)
    folder = _hidden(place, _SWAP)
    draft.rename(folder)
    if not place.exists():
        folder.rename(place)
        return
    for path in _foreign(place, kind):
        if not (folder / path.name).exists():
            _link(path, folder / path.name)
    if exchange(place, folder):
        return
    old = _hidden(place, _OLD)
    place.rename(old)
    try:
        folder.rename(place)
    except BaseException:
        old.rename(place)
        raise


def _clear(place: Path, kind: Kind) -> None:
    """Bring the old folder back where a kill left none, and clear away the other hidden folders."""
    old = _leftovers(place, _OLD)
    if old and not place.exists():
        old.pop().rename(place)
    for folder in _leftovers(place, _DRAFT):
        shutil.rmtree(folder, ignore_errors=True)  # never had a user's file in it
    for folder in (*old, *_leftovers(place, _SWAP)):
        with suppress(OSError):  # the place itself is as it should be, and the next export tries again
            _discard(folder, place, kind)


def _clear_in_any_case(place: Path, kind: Kind) -> None:
    """As `_clear`, also where the user stops the command meanwhile, which ends after that."""
    try:
        _clear(place, kind)
    except KeyboardInterrupt:
        _clear(place, kind)
        raise


def _leftovers(place: Path, role: str) -> list[Path]:
    """Hidden folders of exports to this place, the newest last. role: _DRAFT, _SWAP or _OLD."""
    name = re.compile(rf"\.{re.escape(place.name)}\.{role}-[0-9a-f]{{{2 * _TOKEN_BYTES}}}")
    found = [path for path in place.parent.iterdir() if name.fullmatch(path.name)]
    folders = [path for path in found if path.is_dir() and not path.is_symlink()]
    return sorted(folders, key=lambda path: path.stat().st_mtime)


def _discard(folder: Path, place: Path, kind: Kind) -> None:
    """Remove a folder that was published before; a user's own files in it are moved to `place` first.

    A user's file with the name of a file that is now published in `place` is removed too, as `publishing` says.
    """
    kept = {path.name for path in _foreign(folder, kind)} - kind.files(place)
    # The record goes last: if a kill comes before, it still says which files are ours.
    for path in sorted(folder.iterdir(), key=lambda path: path.name == kind.record):
        if path.name in kept:
            _give_back(path, place / path.name)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    folder.rmdir()


def _give_back(path: Path, target: Path) -> None:
    """Move a user's file to `target`, where a hard link to it usually is already; of two versions the newer stays."""
    if not os.path.lexists(target):
        path.rename(target)
    elif path.is_dir() and not path.is_symlink() and target.is_dir():
        for child in path.iterdir():
            _give_back(child, target / child.name)
        path.rmdir()
    elif path.lstat().st_mtime_ns > target.lstat().st_mtime_ns:
        path.replace(target)
    else:
        path.unlink()


def _link(path: Path, target: Path) -> None:
    """The same file under a second name; of a folder, all files in it."""
    if path.is_dir() and not path.is_symlink():
        target.mkdir()
        shutil.copystat(path, target)
        for child in path.iterdir():
            _link(child, target / child.name)
    else:
        os.link(path, target, follow_symlinks=False)


def _hidden(place: Path, role: str) -> Path:
    """A new name beside `place`. role: _DRAFT, _SWAP or _OLD."""
    return place.with_name(f".{place.name}.{role}-{secrets.token_hex(_TOKEN_BYTES)}")


def _foreign(folder: Path, kind: Kind) -> list[Path]:
    """Files and folders in `folder` that are not part of what was published there, if anything was."""
    if not folder.is_dir():
        return []
    ours = kind.files(folder)
    return sorted(path for path in folder.iterdir() if path.name not in ours)
