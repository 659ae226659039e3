"""The static site of the explorer: page and bundle in one folder, published at once; other files are never touched."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.bundle.site import write_site
from export.cli import export
from export.errors import ExportError
from runtime.bundle import Bundle
from runtime.errors import BundleError, InputError
from trainer.training.run_folder import Run


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_site_is_the_page_with_a_whole_bundle_below_it(bundle: Path, page: Path, tmp_path: Path) -> None:
    write_site(bundle, tmp_path / "site", page=page)
    below = {f"bundle/{name}" for name in files(bundle)}
    assert files(tmp_path / "site") == {"index.html", "vendor/a.wasm", "explorer.json"} | below
    Bundle.open(tmp_path / "site" / "bundle").read("decoder.onnx")


def test_a_site_is_replaced_as_a_whole(bundle: Path, page: Path, tmp_path: Path) -> None:
    write_site(bundle, tmp_path / "site", page=page)
    shutil.rmtree(page / "vendor")
    (page / "index.html").write_text("newer")
    write_site(bundle, tmp_path / "site", page=page)
    assert (tmp_path / "site" / "index.html").read_text() == "newer"
    assert not (tmp_path / "site" / "vendor").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".") and path.is_dir()] == []


@pytest.mark.parametrize("place", ["notes.txt", "bundle/notes.txt", "vendor/deep/notes.txt"])
def test_a_folder_with_a_file_of_somebody_else_is_refused(bundle: Path, page: Path, tmp_path: Path, place: str) -> None:
    site = tmp_path / "site"
    write_site(bundle, site, page=page)
    (site / place).parent.mkdir(exist_ok=True)
    (site / place).write_text("mine")
    before = files(site)
    with pytest.raises(ExportError, match=r"not part of a site of the explorer \(.*choose another --site"):
        write_site(bundle, site, page=page)
    assert files(site) == before


@pytest.mark.parametrize(
    "record",
    ["", "[]", '{"files": 3}', '{"files": [["index.html"]]}', "[" * 200_000],
    ids=["empty", "list", "number", "nested", "deep"],
)
def test_a_site_whose_record_is_damaged_is_not_ours(bundle: Path, page: Path, tmp_path: Path, record: str) -> None:
    write_site(bundle, tmp_path / "site", page=page)
    (tmp_path / "site" / "explorer.json").write_text(record)
    with pytest.raises(ExportError, match="not part of a site"):
        write_site(bundle, tmp_path / "site", page=page)


def test_a_record_of_this_name_that_somebody_else_wrote_gives_up_nothing(
    bundle: Path, page: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    (tmp_path / "mine" / "explorer.json").write_text('{"made_by": "me", "files": ["thesis.tex"]}')
    with pytest.raises(ExportError, match="not part of a site"):
        write_site(bundle, tmp_path / "mine", page=page)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"


def test_a_file_in_the_way_is_refused(bundle: Path, page: Path, tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file")
    with pytest.raises(ExportError, match="is a file, but a site of the explorer is a folder; choose another --site"):
        write_site(bundle, tmp_path / "site", page=page)


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")])
def test_nothing_is_written_of_a_bundle_that_is_not_whole(
    bundle: Path, page: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    change(bundle / "decoder.onnx")
    with pytest.raises(BundleError, match=r"decoder\.onnx"):
        write_site(bundle, tmp_path / "site", page=page)
    assert not (tmp_path / "site").exists()


def test_without_a_built_page_nothing_is_exported(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.web._CHECKOUT_SITE", tmp_path / "dist")
    with pytest.raises(InputError, match="make web"):
        write_site(tmp_path / "bundle", tmp_path / "site")
    arguments = ["--checkpoint", tiny_run.best, "--output", tmp_path / "bundle", "--site", tmp_path / "site"]
    result = CliRunner().invoke(export, list(map(str, arguments)))
    assert result.exit_code == 1
    assert "make web" in result.output
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("site", [".", "bundle", "bundle/site"])
def test_a_site_and_its_bundle_lie_apart(tiny_run: Run, tmp_path: Path, site: str) -> None:
    arguments = ["--checkpoint", tiny_run.best, "--output", tmp_path / "bundle", "--site", tmp_path / site]
    result = CliRunner().invoke(export, list(map(str, arguments)))
    assert (result.exit_code, "neither inside the other" in result.output) == (2, True)


def test_who_stops_the_command_between_bundle_and_site_is_told_which_was_published(
    tiny_run: Run, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(bundle: Path, output: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime.web._CHECKOUT_SITE", page)
    monkeypatch.setattr("export.bundle.site.write_site", stop)
    places = ["--output", tmp_path / "b", "--site", tmp_path / "s"]
    result = CliRunner().invoke(export, list(map(str, ["--checkpoint", tiny_run.best, "--format", "onnx", *places])))
    assert result.exit_code == 1
    assert f"stopped; {tmp_path / 'b'}/ is published, {tmp_path / 's'}/ is as it was" in result.output
    assert Bundle.open(tmp_path / "b")
    assert not (tmp_path / "s").exists()


def test_the_command_writes_bundle_and_site(
    tiny_run: Run, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.web._CHECKOUT_SITE", page)
    arguments = [
        "--checkpoint",
        tiny_run.best,
        "--format",
        "onnx",
        "--output",
        tmp_path / "b",
        "--site",
        tmp_path / "s",
    ]
    result = CliRunner().invoke(export, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    listed = json.loads((tmp_path / "s" / "explorer.json").read_text())["files"]
    assert {*listed, "explorer.json"} == files(tmp_path / "s")
    assert "serve it with any web host, at any path" in result.output
