"""Publishing is atomic and never loses files that are not part of a bundle."""

import contextlib
import os
import resource
import shutil
import signal
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from export.bundle import publish
from export.bundle.build import export_bundle
from export.bundle.publish import check_place, publishing
from export.errors import ExportError
from runtime.bundle import Bundle
from trainer.checkpoint import Checkpoint

Make = Callable[..., Checkpoint]


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the new bundle takes the old one's place: folders cannot change places everywhere."""
    if request.param == "two renames":
        monkeypatch.setattr(publish, "exchange", lambda one, other: False)
    return str(request.param)


def fill(output: Path, *, force: bool = False) -> None:
    """Publish a bundle of one file more than its manifest."""
    manifest = b'{"format_version": 1, "metadata": {"pair_id": "a", "noise_version": 1, "latent_dim": 1, ' + (
        b'"image_shape": [1, 1, 1], "provenance": {}}, "onnx": null, "graphs": {}, "files": {"new.txt": '
        b'{"bytes": 3, "sha256": "%064d"}}}' % 0
    )
    with publishing(output, force=force) as folder:
        (folder / "new.txt").write_text("new")
        (folder / "manifest.json").write_bytes(manifest)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_with_something_else_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ExportError, match=r"not part of a bundle \(thesis.tex\).*--force"):
        fill(tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def test_a_file_beside_the_files_of_a_bundle_is_refused_too(bundle: Path) -> None:
    before = names(bundle)
    (bundle / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"notes\.txt"):
        fill(bundle)
    assert names(bundle) == sorted([*before, "notes.txt"])


def test_force_replaces_the_bundle_and_never_touches_anything_else(bundle: Path, way: str) -> None:
    (bundle / "notes.txt").write_text("mine")
    (bundle / "folder" / "deep").mkdir(parents=True)
    (bundle / "folder" / "deep" / "more.txt").write_text("mine too")
    (bundle / "link").symlink_to("nowhere")
    inode = (bundle / "notes.txt").stat().st_ino
    fill(bundle, force=True)
    assert names(bundle) == ["folder", "link", "manifest.json", "new.txt", "notes.txt"]
    assert (bundle / "notes.txt").stat().st_ino == inode
    assert (bundle / "notes.txt").stat().st_nlink == 1
    assert (bundle / "folder" / "deep" / "more.txt").read_text() == "mine too"
    assert (bundle / "link").readlink() == Path("nowhere")
    assert names(bundle.parent) == ["bundle"]


def test_a_users_file_that_changes_in_the_middle_of_the_change_keeps_its_newest_version(
    bundle: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor saves by a rename: what was linked is then the version before."""
    (bundle / "notes.txt").write_text("first")
    os.utime(bundle / "notes.txt", (1, 1))
    link = publish._link

    def link_and_save(path: Path, target: Path) -> None:
        link(path, target)
        (bundle / "saved").write_text("second")
        (bundle / "saved").replace(bundle / "notes.txt")

    monkeypatch.setattr(publish, "_link", link_and_save)
    fill(bundle, force=True)
    assert (bundle / "notes.txt").read_text() == "second"
    assert names(bundle.parent) == ["bundle"]


def test_an_empty_or_missing_folder_needs_no_force(tmp_path: Path) -> None:
    fill(tmp_path / "some" / "where" / "missing")
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "empty")
    assert names(tmp_path / "empty") == names(tmp_path / "some" / "where" / "missing") == ["manifest.json", "new.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_before_or_in_the_middle_of_the_change_leaves_the_old_bundle(
    error: BaseException, bundle: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bundle / "notes.txt").write_text("mine")
    before = names(bundle)

    def failing(*arguments: object) -> bool:
        raise error

    monkeypatch.setattr(publish, "exchange" if way == "exchange" else "_link", failing)
    with pytest.raises((KeyboardInterrupt, ExportError)):
        fill(bundle, force=True)
    assert names(bundle) == before
    with pytest.raises((KeyboardInterrupt, ExportError)), publishing(bundle, force=True):
        raise error
    assert names(bundle) == before
    assert names(bundle.parent) == ["bundle"]


def test_the_root_of_the_file_system_is_no_place() -> None:
    with pytest.raises(ExportError, match="is the root of the file system"):
        check_place(Path("/"))
    with pytest.raises(ExportError, match="is the root of the file system"):
        fill(Path("/"))


def test_who_stops_while_the_old_bundle_is_cleared_away_leaves_nothing_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "bundle")
    discard, stops = publish._discard, [KeyboardInterrupt()]

    def stopped_once(*arguments: Any) -> None:
        if stops:
            raise stops.pop()
        discard(*arguments)

    monkeypatch.setattr(publish, "_discard", stopped_once)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "bundle")
    assert names(tmp_path) == ["bundle"]


def test_a_link_that_leads_to_itself_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ExportError, match="cannot write"):
        fill(tmp_path / "a", force=True)
    with pytest.raises(ExportError, match="cannot write"):
        check_place(tmp_path / "a")
    assert names(tmp_path) == ["a", "b"]


def test_parents_that_were_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), publishing(tmp_path / "some" / "where" / "bundle", force=False):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def forked(program: Callable[[], None]) -> int:
    """Start `program` in a child of this process. Returns its pid; it exits with 0, or 1 where anything is raised."""
    pid = os.fork()
    if pid == 0:
        try:
            program()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def publish_and_die(output: Path, step: int) -> None:
    """Publish, but SIGKILL comes just before the step with this number."""
    left = step

    def at_each(holder: Any, name: str) -> None:
        real = getattr(holder, name)

        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return real(*arguments, **options)

        setattr(holder, name, call)

    for holder, name in (
        *((os, name) for name in ("rename", "replace", "link", "unlink", "rmdir", "mkdir")),
        (publish, "exchange"),
    ):
        at_each(holder, name)
    fill(output, force=True)


def test_a_kill_at_any_step_leaves_one_bundle_or_the_other_and_the_next_export_clears_up(
    bundle: Path, way: str
) -> None:
    (bundle / "notes.txt").write_text("mine")
    (bundle / "folder").mkdir()
    (bundle / "folder" / "more.txt").write_text("mine too")
    original = bundle.with_name("original")
    shutil.copytree(bundle, original)
    kills = 0
    while True:
        _, status = os.waitpid(forked(partial(publish_and_die, bundle, kills)), 0)
        killed = os.WIFSIGNALED(status)
        if way == "exchange":  # at every instant; otherwise the next export brings it back
            assert names(bundle) in (names(original), ["folder", "manifest.json", "new.txt", "notes.txt"])
            assert (bundle / "notes.txt").read_text() == "mine"
        with contextlib.suppress(KeyboardInterrupt), publishing(bundle, force=True):
            assert names(bundle) in (names(original), ["folder", "manifest.json", "new.txt", "notes.txt"])
            raise KeyboardInterrupt
        assert (bundle / "notes.txt").read_text() == "mine"
        assert (bundle / "folder" / "more.txt").read_text() == "mine too"
        assert names(bundle.parent) == ["bundle", "original"]
        if not killed:
            break
        shutil.rmtree(bundle)
        shutil.copytree(original, bundle)
        kills += 1
    assert kills > 8


def test_of_two_publishers_the_second_is_refused_before_the_slow_part_and_no_reader_notices(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")

    def publish_often() -> None:
        done = 0
        while done < 40:
            try:
                fill(bundle, force=True)
                done += 1
            except ExportError as error:
                if "is writing it" not in str(error):
                    raise

    waiting = {forked(publish_often) for _ in range(2)}
    looks, codes = 0, []
    while waiting:
        assert (bundle / "notes.txt").read_text() == "mine"
        Bundle.open(bundle)
        looks += 1
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            waiting.remove(pid)
            codes.append(status)
    assert codes == [0, 0]
    assert looks > 100
    assert names(bundle.parent) == ["bundle"]
    assert names(bundle) == ["manifest.json", "new.txt", "notes.txt"]


def test_a_second_publisher_is_told_who_is_first(bundle: Path) -> None:
    with (
        publishing(bundle, force=False),
        pytest.raises(ExportError, match=rf"another process \(pid {os.getpid()}\)"),
        publishing(bundle, force=False),
    ):
        pass


def test_a_full_disk_ends_in_one_sentence_and_leaves_nothing(random_checkpoint: Make, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the table of the sampler alone is larger."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ExportError, match=r"cannot write .*bundle: File too large"):
            export_bundle(random_checkpoint(), tmp_path / "bundle", formats=["torchscript"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
