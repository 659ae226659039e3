"""The mixture that is fitted when training ends."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner

from runtime.noise import standard_normal
from runtime.prior import Prior, prior_latents
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.cli.train import train
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.errors import CheckpointError
from trainer.prior import POSTERIOR_SHARE, fit_prior
from trainer.training.run_folder import Run


def mean_log_density(prior: Prior, z: npt.NDArray[np.float64]) -> float:
    """Mean log-density of points (N, L) under the mixture that the alias tables draw from, by its definition."""
    mean, scale = prior.shift.astype(float) * prior.scale, prior.scale.astype(float)
    p = prior.probabilities()
    log_normal = (-0.5 * ((z[:, None] - mean) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(2)
    return float(np.log((np.exp(log_normal) * p).sum(1)).mean())


@pytest.fixture(scope="module")
def best(tiny_run: Run) -> Checkpoint:
    return load_checkpoint(tiny_run.best)


def test_mixture_describes_unseen_images_better_than_the_standard_normal(best: Checkpoint, blobs: ImageData) -> None:
    model = best.build_model()
    prior = fit_prior(model, blobs.train_images, blobs.train_labels, seed=0).prior
    with torch.no_grad():
        mean, log_var = model.encode(to_float(torch.tensor(blobs.test_images)))
    noise = np.random.default_rng(0).standard_normal(mean.shape)
    z = mean.numpy() + np.sqrt(POSTERIOR_SHARE) * np.exp(log_var.numpy() / 2) * noise
    standard = float((-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum(1).mean())
    assert mean_log_density(prior, z) > standard + 0.05


def test_the_prior_has_the_spread_of_the_means_and_a_tenth_of_the_posteriors_variance(
    best: Checkpoint, blobs: ImageData
) -> None:
    few = blobs.train_images[:11]  # too few to hold some out: one component
    model = best.build_model()
    with torch.no_grad():
        mean, log_var = (output.double() for output in model.encode(to_float(torch.tensor(few))))
    spread, noise = mean.var(0, correction=0).numpy(), log_var.exp().mean(0).numpy()
    for fitted, share in (
        (fit_prior(model, few, None, seed=0), 0.1),
        (fit_prior(model, few, None, seed=0, share=1), 1),
    ):
        assert fitted.prior.scale[0].astype(float) ** 2 == pytest.approx(spread + share * noise, rel=1e-5)


def test_classes_are_drawn_as_often_as_they_occur(best: Checkpoint, blobs: ImageData) -> None:
    fitted = fit_prior(best.build_model(), blobs.train_images, blobs.train_labels, seed=0)
    assert fitted.prior.classes == ("0", "1", "2", "3")
    assert blobs.train_labels is not None
    for number in range(4):
        share = fitted.prior.probabilities()[fitted.prior.component_class == number].sum()
        assert share == pytest.approx((blobs.train_labels == number).mean(), abs=1e-3)


def test_class_means_are_those_of_the_posterior_means(best: Checkpoint, blobs: ImageData) -> None:
    model = best.build_model()
    prior = fit_prior(model, blobs.train_images, blobs.train_labels, seed=0).prior
    with torch.no_grad():
        mean = model.encode(to_float(torch.tensor(blobs.train_images)))[0].double().numpy()
    # Expectation maximisation keeps the mean; the tables round weights to 1 in 65,536 of a slot.
    for number in range(4):
        assert prior.class_mean(number) == pytest.approx(mean[blobs.train_labels == number].mean(0), abs=1e-3)


def test_names_of_classes_are_those_of_the_labels_that_occur(best: Checkpoint, blobs: ImageData) -> None:
    labels = np.where(np.arange(400) % 2, 1, 4)
    names = ("a", "b", "c", "d", "e")
    assert fit_prior(best.build_model(), blobs.train_images, labels, seed=0, class_names=names).prior.classes == (
        "b",
        "e",
    )
    assert fit_prior(best.build_model(), blobs.train_images, labels, seed=0).prior.classes == ("1", "4")


def test_images_without_labels_make_one_group(best: Checkpoint, blobs: ImageData) -> None:
    fitted = fit_prior(best.build_model(), blobs.train_images, None, seed=0)
    assert fitted.prior.classes == ()
    assert (fitted.prior.component_class == -1).all()


def test_the_fit_is_a_function_of_the_seed(best: Checkpoint, blobs: ImageData) -> None:
    first, again, other = (
        fit_prior(best.build_model(), blobs.train_images, blobs.train_labels, seed=seed).prior.to_npz()
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("labelled", [True, False])
def test_threads_share_the_groups_or_the_sizes_and_change_no_bit(
    labelled: bool, best: Checkpoint, blobs: ImageData
) -> None:
    model, labels, before = best.build_model(), blobs.train_labels if labelled else None, torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(fit_prior(model, blobs.train_images, labels, seed=0).prior.to_npz())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [2, 12, 60])
def test_few_images_get_few_components(best: Checkpoint, blobs: ImageData, count: int) -> None:
    fitted = fit_prior(best.build_model(), blobs.train_images[:count], None, seed=0)
    assert fitted.sizes[0] <= max(1, count // 3)


def test_a_checkpoint_keeps_its_prior_and_is_of_format_2_only_with_one(
    best: Checkpoint, blobs: ImageData, tmp_path: Path
) -> None:
    prior = fit_prior(best.build_model(), blobs.train_images, blobs.train_labels, seed=0).prior
    for checkpoint, version in ((replace(best, prior=prior), 2), (replace(best, prior=None), 1)):
        checkpoint.save(tmp_path / "a.pt")
        assert torch.load(tmp_path / "a.pt", weights_only=True)["format_version"] == version
    replace(best, prior=prior).save(tmp_path / "a.pt")
    again = load_checkpoint(tmp_path / "a.pt").prior
    assert again is not None
    assert again.to_npz() == prior.to_npz()
    assert again.classes == prior.classes


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scale", torch.zeros(3, 5), "scale should be above 0"),
        ("shift", torch.full((3, 5), torch.nan), "shift holds NaN"),
        ("shift", torch.zeros(3, 5, dtype=torch.float64), "shift should be float32"),
        ("thresholds", torch.full((1, 4), -1), "thresholds should be at most 65536"),
        ("aliases", torch.full((1, 4), 2**33), "aliases should be int64 of small numbers"),
        ("kind", "flow", "should be a mixture"),
        ("classes", [3], "should be a mixture with names"),
        ("shift", None, "does not fit together"),
    ],
)
def test_a_damaged_prior_in_a_checkpoint_is_refused(
    best: Checkpoint, tmp_path: Path, name: str, value: object, words: str
) -> None:
    replace(best, prior=Prior.of_mixture([1, 1, 1], np.zeros((3, 5)), np.ones((3, 5)))).save(tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    content["prior"][name] = value
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "a.pt")


def test_a_prior_of_another_model_is_refused(best: Checkpoint, tmp_path: Path) -> None:
    replace(best, prior=Prior.of_mixture([1], np.zeros((1, 4)), np.ones((1, 4)))).save(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="its prior should have 5 latents but has 4"):
        load_checkpoint(tmp_path / "a.pt")


OPTIONS = ["--hidden", "8", "--latent-dim", "3", "--epochs", "2", "--batch-size", "100", "--threads", "1"]


def run_train(*arguments: str) -> str:
    result = CliRunner().invoke(train, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_ends_with_a_prior_in_both_checkpoints_and_resume_gives_one_to_a_run_without(
    blobs: ImageData, tmp_path: Path
) -> None:
    assert blobs.train_labels is not None
    np.savez(tmp_path / "blobs.npz", images=blobs.train_images, labels=blobs.train_labels)
    data = ["--dataset", str(tmp_path / "blobs.npz"), "--runs", str(tmp_path / "runs")]
    assert "prior   mixture of" in run_train(*data, "--name", "a", *OPTIONS)
    best, last = (load_checkpoint(tmp_path / "runs" / "a" / name).prior for name in ("best.pt", "last.pt"))
    assert best is not None
    assert last is not None

    assert "prior   " not in run_train(*data, "--name", "b", *OPTIONS, "--prior", "normal")
    assert load_checkpoint(tmp_path / "runs" / "b" / "best.pt").prior is None
    config = tmp_path / "runs" / "b" / "config.toml"  # a run of a version that knew no priors says nothing about them
    config.write_text(re.sub(r"(?m)^prior = .*\n", "", config.read_text()))
    assert torch.load(tmp_path / "runs" / "b" / "last.pt", weights_only=True)["format_version"] == 1
    run_train("--resume", str(tmp_path / "runs" / "b"), "--runs", str(tmp_path / "runs"))
    for name in ("best.pt", "last.pt"):
        fitted, refitted = (load_checkpoint(tmp_path / "runs" / run / name).prior for run in "ab")
        assert fitted is not None
        assert refitted is not None
        assert fitted.to_npz() == refitted.to_npz()


def test_without_a_mixture_latents_are_standard_normal_noise() -> None:
    assert (prior_latents(None, 0, np.arange(3), 5) == standard_normal(0, np.arange(3), 5)).all()
