"""Drawing classes on demand, in every way that images are drawn."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.bundle import Bundle
from runtime.cli import sample
from runtime.errors import BundleError, InputError
from runtime.labels import InTurn
from runtime.manifest import MANIFEST_NAME, Manifest
from runtime.sampler import Sampler
from runtime.verify import verify_bundle

CLASSES = ("north west", "north east", "south west", "3")


@pytest.fixture
def sampler(mixture_bundle: Path) -> Sampler:
    return Sampler(mixture_bundle, threads=2)


def test_bundle_names_its_classes(sampler: Sampler) -> None:
    assert sampler.classes == CLASSES


@pytest.mark.parametrize("label", ["north east", "1", 1])
def test_a_label_draws_its_class_alone(sampler: Sampler, label: str | int) -> None:
    assert (sampler.labels(np.arange(500), seed=3, label=label) == 1).all()
    prior = sampler.bundle.prior()
    assert prior is not None
    assert sampler.latents(np.arange(9), seed=3, label=label).tobytes() == prior.latents(3, np.arange(9), 1).tobytes()


def test_images_of_a_class_lie_where_the_class_lies(sampler: Sampler) -> None:
    """The label of a blob is the quarter of the image in which its light lies."""
    for number in range(4):
        image = sampler.sample(300, label=number).astype(float)[..., 0].mean(0)
        quarters = image.reshape(2, 6, 2, 6).sum((1, 3)).ravel()
        assert quarters.argmax() == number


def test_every_way_of_drawing_gives_the_same_images(sampler: Sampler) -> None:
    turn = InTurn((2, "3"))
    labels: list[str | int] = [2, "3"] * 750
    together = sampler.sample(1500, seed=5, label=labels)
    assert (sampler.sample(1500, seed=5, label=turn) == together).all()
    assert (np.concatenate(list(sampler.stream(1500, seed=5, label=labels, batch_size=400))) == together).all()
    parts = [*sampler.stream(600, seed=5, label=turn), *sampler.stream(900, seed=5, first=600, label=turn)]
    assert (np.concatenate(parts) == together).all()
    alone = sampler.sample_indices([7, 4, 1403], seed=5, label=["3", 2, "3"]).astype(int)
    assert np.abs(alone - together[[7, 4, 1403]]).max() <= 1
    mixed = sampler.sample(3, seed=5, label=[None, 2, None])
    assert np.abs(mixed.astype(int)[[0, 2]] - sampler.sample(3, seed=5)[[0, 2]]).max() <= 1


def test_the_largest_index_has_a_class_too(sampler: Sampler) -> None:
    images = sampler.sample(3, first=2**63 - 3, label=InTurn((0, 1)))
    last = np.array([2**63 - 3, 2**63 - 2, 2**63 - 1])
    assert (images == sampler.sample_indices(last, label=[1, 0, 1])).all()
    assert sampler.labels(last, label=InTurn((0, 1))).tolist() == [1, 0, 1]  # also of signed indices


@pytest.mark.parametrize("label", ["cow", 4, ["north west", "cow"], InTurn(("cow",))])
@pytest.mark.parametrize("draw", ["sample", "stream"])
def test_an_unknown_label_is_refused_with_the_known_ones(sampler: Sampler, label: object, draw: str) -> None:
    with pytest.raises(
        InputError, match=r"there is no class .*; the classes are north west, north east, south west, 3$"
    ):
        getattr(sampler, draw)(2, label=label)


def test_labels_of_another_number_than_the_images_are_refused(sampler: Sampler) -> None:
    with pytest.raises(InputError, match="one for each of 3, but are 2"):
        sampler.sample(3, label=[0, 1])


def test_a_label_of_a_bundle_without_a_mixture_is_refused(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"label 'north east': this bundle draws from N\(0, I\), which has no classes"):
        Sampler(bundle).sample(3, label="north east")
    assert (Sampler(bundle).labels([1, 2]) == -1).all()


def run(*arguments: str | int | Path, code: int = 0) -> str:
    result = CliRunner().invoke(sample, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


def test_command_draws_classes_in_turn_and_notes_them(mixture_bundle: Path, tmp_path: Path, sampler: Sampler) -> None:
    options: list[str | int] = ["--label", "south west", "--label", "0", "--first", 3, "--num", 5]
    run(mixture_bundle, *options, "--output", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["labels"].tolist() == [0, 2, 0, 2, 0]
        assert (arrays["images"] == sampler.sample(5, first=3, label=[0, 2, 0, 2, 0])).all()
    run(mixture_bundle, *options, "--output", tmp_path / "folder")
    names = sorted(path.name for path in (tmp_path / "folder").glob("*.png"))
    assert names[:2] == ["00000003-north_west.png", "00000004-south_west.png"]
    assert json.loads((tmp_path / "folder" / "vae-sample.json").read_text())["job"]["labels"] == [2, 0]


def test_npz_without_a_label_tells_the_class_that_was_drawn(
    mixture_bundle: Path, tmp_path: Path, sampler: Sampler
) -> None:
    run(mixture_bundle, "--num", 200, "--output", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert (arrays["labels"] == sampler.labels(np.arange(200))).all()
        assert set(arrays["labels"].tolist()) == {0, 1, 2, 3}


def test_a_job_of_other_classes_does_not_go_on_in_the_same_folder(mixture_bundle: Path, tmp_path: Path) -> None:
    run(mixture_bundle, "--num", 3, "--label", "3", "--output", tmp_path / "folder")
    assert "was begun with labels [3]" in run(
        mixture_bundle, "--num", 3, "--label", "0", "--output", tmp_path / "folder", "--resume", code=1
    )


def test_sheet_by_class_has_a_row_for_each(mixture_bundle: Path, tmp_path: Path, sampler: Sampler) -> None:
    from PIL import Image

    text = run(mixture_bundle, "--by-class", "--num", 6, "--scale", 1, "--output", tmp_path / "a.png")
    assert text.endswith("a.png: 6 of each class, from the top: north west, north east, south west, 3\n")
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    assert sheet.shape == (4 * 14 + 2, 6 * 14 + 2)
    assert (sheet[16:28, 2:14] == sampler.sample(6, label=1)[0, ..., 0]).all()


def test_command_ends_wrong_labels_in_one_sentence(mixture_bundle: Path, bundle: Path, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "a.png")
    assert "there is no class 'cow'; the classes are" in run(mixture_bundle, "--label", "cow", *output, code=1)
    assert "which has no classes" in run(bundle, "--label", "3", *output, code=1)
    assert "there are no classes to give a row each" in run(bundle, "--by-class", *output, code=1)
    assert "--by-class" in run(mixture_bundle, "--by-class", "--label", "3", *output, code=2)
    assert not (tmp_path / "a.png").exists()


def test_verify_checks_components_and_labels(mixture_bundle: Path) -> None:
    report = verify_bundle(mixture_bundle)
    assert report.passed, [check for check in report.checks if not check.passed]
    assert "golden sampler" in {check.name for check in report.checks}


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((bundle / MANIFEST_NAME).read_text())
    change(content)
    (bundle / MANIFEST_NAME).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["prior"].update(slots=24), "prior.slots should be a power of two but is 24"),
        (lambda m: m["prior"].update(slots=2**17), "prior.slots should be an integer from 2 to 65536"),
        (lambda m: m["prior"].update(components=0), "prior.components should be an integer from 1"),
        (lambda m: m["prior"].update(kind="flow"), "prior.kind should be 'mixture'"),
        (lambda m: m["prior"].update(classes=["a", "a"]), "prior.classes should be different strings"),
        (lambda m: m["prior"].update(classes=[1]), "prior.classes should be different strings"),
        (lambda m: m.pop("prior"), "prior should be an object but is missing"),
        (lambda m: m["files"].pop("prior.npz"), "has a prior but files leaves out prior.npz"),
        (lambda m: m.update(format_version=3), "format_version should be 1 or 2 but is 3"),
        (lambda m: m.update(format_version=True), "format_version should be 1 or 2 but is True"),
    ],
)
def test_a_manifest_with_a_damaged_prior_is_refused(
    mixture_bundle: Path,
    change: Callable[[dict[str, Any]], object],
    words: str,
) -> None:
    change_manifest(mixture_bundle, change)
    with pytest.raises(BundleError, match=re.escape(words)):
        Bundle.open(mixture_bundle)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda prior: prior.update(slots=prior["slots"] * 2), "slots as manifest.json says"),
        (lambda prior: prior.update(components=prior["components"] - 1), "components as manifest.json says"),
        (lambda prior: prior.update(classes=prior["classes"][:2]), "a row for any class and one for each of 2 classes"),
        (lambda prior: prior.update(version=2), "its prior is of version 2"),
    ],
)
def test_tables_that_do_not_fit_the_manifest_are_refused(
    mixture_bundle: Path,
    change: Callable[[dict[str, Any]], object],
    words: str,
) -> None:
    change_manifest(mixture_bundle, lambda manifest: change(manifest["prior"]))
    with pytest.raises(BundleError, match=re.escape(words)):
        Sampler(mixture_bundle)


def test_manifest_is_the_same_after_a_round(mixture_bundle: Path) -> None:
    text = (mixture_bundle / MANIFEST_NAME).read_bytes()
    assert Manifest.from_json(text).to_json().encode() == text
