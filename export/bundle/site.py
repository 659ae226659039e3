"""`vae-export --site`: the latent explorer and a bundle as one static folder, for any web host."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from export.bundle.publish import Kind, check_place, publishing
from runtime.bundle import Bundle
from runtime.files.regular import read_text
from runtime.manifest import MANIFEST_NAME
from runtime.signature import SIGNATURE_NAME
from runtime.web import find_site

_RECORD = "explorer.json"
_MAKER = "vae-export --site"
_BUNDLE = "bundle"  # where the page looks for it


def write_site(bundle: Path, output: Path, *, page: Path | None = None) -> None:
    """Write the page with `bundle` below it as `bundle/` to the folder `output`, all at once.

    A folder that this function wrote is replaced. The page works at any path of a host, and requests nothing from
    elsewhere. page: the built page; None finds it as `vae-web` does. Raises InputError where it is not built,
    ExportError where `output` holds anything else or cannot be written, BundleError for a damaged bundle.
    """
    page = find_site(page)
    opened = Bundle.open(bundle)
    beside = [name for name in (MANIFEST_NAME, SIGNATURE_NAME) if (bundle / name).is_file()]
    with publishing(output, force=False, kind=_SITE) as folder:
        shutil.copytree(page, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
        (folder / _BUNDLE).mkdir()
        for name in opened.manifest.files:
            (folder / _BUNDLE / name).write_bytes(opened.read(name))
        for name in beside:
            shutil.copyfile(bundle / name, folder / _BUNDLE / name)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        record = {"made_by": _MAKER, "files": files}
        (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check_site(output: Path) -> None:
    """Raise what `write_site` would raise for want of a page, or for what is in `output`; changes nothing."""
    find_site()
    check_place(output, kind=_SITE)


def _site_files(folder: Path) -> set[str]:
    """Files that the record lists, and folders in which there is nothing else: what a user put there is not ours."""
    try:
        record = json.loads(read_text(folder / _RECORD))
        if record["made_by"] != _MAKER:  # a file of somebody else, which happens to have this name
            return set()
        listed = set(record["files"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()

    def is_ours(path: Path) -> bool:
        return path.relative_to(folder).as_posix() in listed and not path.is_symlink()

    ours = {_RECORD}
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if all((child.is_dir() and not child.is_symlink()) or is_ours(child) for child in path.rglob("*")):
                ours.add(path.name)
        elif is_ours(path):
            ours.add(path.name)
    return ours


_SITE = Kind("a site of the explorer", "--site", _RECORD, _site_files)
