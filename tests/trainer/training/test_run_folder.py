"""Run folders: numbers, names, the `latest` link, and no overwriting."""

from pathlib import Path

import pytest

from runtime.errors import OutputError
from trainer.errors import SettingsError
from trainer.training.run_folder import Run


def test_runs_are_numbered_and_latest_points_at_the_newest(tmp_path: Path) -> None:
    folders = [Run.create(tmp_path / "runs", None, "mnist-kingma").folder for _ in range(3)]
    assert [folder.name for folder in folders] == ["mnist-kingma-1", "mnist-kingma-2", "mnist-kingma-3"]
    assert (tmp_path / "runs" / "latest").resolve() == folders[-1]
    assert (tmp_path / "runs" / "latest").readlink() == Path("mnist-kingma-3")  # relative: the folder may move


def test_a_named_run_is_never_overwritten(tmp_path: Path) -> None:
    Run.create(tmp_path, "mine", "unused").config.write_text("")
    with pytest.raises(SettingsError, match="mine already exists; choose another --name"):
        Run.create(tmp_path, "mine", "unused")


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "latest", "", "."])
def test_a_name_is_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="the name of a run should be a plain folder name"):
        Run.create(tmp_path / "runs", name, "unused")
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write to .*file"):
        Run.create(tmp_path / "file", None, "a")


def test_what_a_command_leaves_that_is_killed_as_it_begins_does_not_keep_its_name_taken(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".lock").write_text("1 gone\n")
    (folder / ".config.0123abcd.toml").write_text("half")
    run = Run.create(tmp_path, "mine", "unused")
    with run.owned():
        assert list(folder.iterdir()) == [folder / ".lock"]
    assert list(folder.iterdir()) == []


def test_a_users_file_called_latest_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "latest").write_text("mine")
    with pytest.raises(SettingsError, match="latest: is no link of vae-train, so it stays"):
        Run.create(tmp_path, "a", "unused")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("latest", "mine")]


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "config.toml", "history.csv", "preview.png", "data.npz"])
def test_temporary_files_of_a_killed_process_are_removed_by_the_next_one(tmp_path: Path, name: str) -> None:
    run = Run.create(tmp_path, "a", "unused")
    stem, ending = name.split(".")
    (run.folder / f".{stem}.0123abcd.{ending}").write_text("half")
    (run.folder / ".mine.txt").write_text("mine")
    with run.owned():
        pass
    assert list(run.folder.iterdir()) == [run.folder / ".mine.txt"]
