"""Publishing is atomic and never loses files that are not part of a bundle."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from export.bundle.build import export_bundle
from export.bundle.publish import check_output, staging
from export.errors import ExportError
from trainer.checkpoint import Checkpoint

Make = Callable[..., Checkpoint]


def fill(output: Path) -> None:
    with staging(output) as folder:
        (folder / "new.txt").write_text("new")


def test_a_folder_with_other_files_is_refused_and_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ExportError, match=r"not part of a bundle \(thesis.tex\).*--force"):
        check_output(tmp_path, force=False)


def test_a_bundle_folder_with_an_extra_file_is_refused_too(bundle: Path) -> None:
    check_output(bundle, force=False)
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"notes\.txt"):
        check_output(bundle, force=False)


def test_force_replaces_the_bundle_and_keeps_everything_else(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    (bundle / "folder").mkdir()
    check_output(bundle, force=True)
    fill(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == ["folder", "new.txt", "notes.txt"]
    assert (bundle / "notes.txt").read_text() == "mine"


def test_an_empty_or_missing_folder_needs_no_force(tmp_path: Path) -> None:
    check_output(tmp_path / "missing", force=False)
    check_output(tmp_path, force=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_while_renaming_restores_the_old_bundle(
    error: BaseException, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bundle / "notes.txt").write_text("mine")
    before = sorted(path.name for path in bundle.iterdir())
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.startswith(".bundle.new-") and target == bundle:
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises((KeyboardInterrupt, ExportError)):
        fill(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == before
    assert list(bundle.parent.iterdir()) == [bundle]


def test_a_full_disk_ends_in_one_sentence_and_leaves_nothing(random_checkpoint: Make, tmp_path: Path) -> None:
    """Simulated by a limit on file sizes: the noise table of the sampler alone exceeds it."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ExportError, match=r"cannot write .*bundle: File too large"):
            export_bundle(random_checkpoint(), tmp_path / "bundle", formats=["torchscript"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
