"""`vae-evaluate`: its figures agree with independent computations on small data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from runtime.errors import InputError
from runtime.noise import standard_normal
from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.cli.evaluate import evaluate, is_evaluation
from trainer.data.dataset import ImageData
from trainer.data.pixels import to_float
from trainer.errors import DataError
from trainer.evaluation.classifier import train_judge
from trainer.evaluation.elbo import measure_elbo
from trainer.evaluation.evaluate import Evaluation, evaluate_checkpoint
from trainer.evaluation.figures import draw_evaluation
from trainer.evaluation.sample_quality import Samples, frechet_distance, measure_samples, nearest_distance
from trainer.evaluation.table import as_table
from trainer.model.vae import ModelConfig, build_model
from trainer.objective.likelihood import bernoulli_entropy_floor
from trainer.prior import fit_prior
from trainer.settings import Settings
from trainer.training.loop import fit
from trainer.training.run_folder import Run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_CACHE", str(cache))


def _measure(checkpoint: Checkpoint, data: ImageData) -> Evaluation:
    return evaluate_checkpoint(checkpoint, data, k=60, images_with_k=20, samples=50, seed=0, device=CPU)


@pytest.fixture
def found(tiny_run: Run, blobs: ImageData) -> Evaluation:
    return _measure(load_checkpoint(tiny_run.best), blobs)


def test_gray_elbo_is_floor_plus_excess_plus_kl_and_agrees_with_the_history(
    found: Evaluation, tiny_run: Run, blobs: ImageData
) -> None:
    terms = found.protocols["gray"].elbo.total
    assert terms.floor == pytest.approx(bernoulli_entropy_floor(blobs.test_images), rel=1e-5)
    last = load_checkpoint(tiny_run.best).history[-1]
    assert terms.kl == pytest.approx(last.test_kl, rel=1e-4)
    assert terms.negative_elbo == pytest.approx(last.test_loss, rel=0.01)  # other draws of z
    assert found.protocols["gray"].nll.curve[1] == pytest.approx(terms.negative_elbo, rel=0.01)
    assert found.protocols["gray"].nll.nll < terms.negative_elbo


def test_class_terms_average_to_the_total(found: Evaluation, blobs: ImageData) -> None:
    for protocol in found.protocols.values():
        classes = protocol.elbo.by_class.values()
        assert sum(terms.images for terms in classes) == len(blobs.test_images)
        mean = sum(terms.images * terms.negative_elbo for terms in classes) / len(blobs.test_images)
        assert mean == pytest.approx(protocol.elbo.total.negative_elbo, rel=1e-9)


def test_binarised_images_have_no_floor(found: Evaluation) -> None:
    assert found.protocols["binarised"].elbo.total.floor == 0


def test_active_units_of_a_model_that_uses_two_of_four_latents() -> None:
    model = build_model(ModelConfig((1, 3, 3), (8,), 4), seed=0).eval()
    with torch.no_grad():
        for head in (model.mean, model.log_var):
            head.weight[:2].mul_(20)
            for values in (head.weight[2:], head.bias):
                values.zero_()
    pixels = torch.randint(256, (300, 3, 3, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    elbo = measure_elbo(model, pixels, None, likelihood="bernoulli")
    assert (elbo.active_by_variance, elbo.active_by_kl) == (2, 2)
    assert elbo.kl_per_dimension[2:] == (0, 0)
    assert elbo.total.kl == pytest.approx(sum(elbo.kl_per_dimension), rel=1e-6)


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    random = np.random.default_rng(0)
    a = random.normal(0, 1, (200_000, 2))
    b = random.normal(0, 1, (200_000, 2)) * [2, 3] + [1, 0]
    assert frechet_distance(a, b) == pytest.approx(1 + (2 - 1) ** 2 + (3 - 1) ** 2, rel=0.02)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_nearest_distance_agrees_with_brute_force_and_finds_copies(
    blobs: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.evaluation.sample_quality._TRAIN_CHUNK", 150)
    images = to_float(torch.tensor(np.concatenate([blobs.test_images[:9], blobs.train_images[399:]])))
    train = to_float(torch.tensor(blobs.train_images)).flatten(1)
    expected = torch.cdist(images.flatten(1).double(), train.double()).amin(1)
    found = nearest_distance(images, blobs.train_images).double()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-4)
    assert found[-1] < 2e-3


def test_real_images_score_like_real_images_and_noise_does_not(blobs: ImageData) -> None:
    judge = train_judge(blobs, CPU)
    assert judge.accuracy > 0.9
    test, train = (to_float(torch.tensor(images)) for images in (blobs.test_images, blobs.train_images))
    random = torch.rand(120, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    labels = blobs.test_labels
    real = measure_samples(Samples(test, labels, normal=random, reconstructions=test, copies=train), blobs, judge)
    noise = measure_samples(Samples(random, None, normal=random, reconstructions=test, copies=train), blobs, judge)
    copied = Samples(train[:120], None, normal=random, reconstructions=test, copies=train)
    assert measure_samples(copied, blobs, judge).copies
    assert not real.copies
    assert not noise.copies
    assert real.verdict is not None
    assert noise.verdict is not None
    assert real.verdict.fid == real.verdict.real_fid == real.verdict.reconstruction_fid
    assert real.verdict.normal_fid == noise.verdict.fid
    assert real.verdict.agreement == pytest.approx(judge.accuracy)
    assert noise.verdict.agreement is None
    assert noise.verdict.fid > 5 * real.verdict.fid
    assert noise.distance > 2 * real.distance
    assert sum(noise.verdict.histogram.values()) == pytest.approx(1)
    again = train_judge(blobs, CPU)
    assert (again.seconds, again.accuracy) == (0, judge.accuracy)  # from the cache


def test_other_data_is_refused(tiny_run: Run, blobs: ImageData) -> None:
    other = replace(blobs, test_images=blobs.test_images[::-1])
    with pytest.raises(DataError, match=r"trained on blobs with sha256 .* give the same one with --dataset"):
        _measure(load_checkpoint(tiny_run.best), other)


def test_data_without_labels_is_evaluated_without_a_classifier(tiny_run: Run, blobs: ImageData) -> None:
    unlabelled = replace(blobs, train_labels=None, test_labels=None)
    found = _measure(load_checkpoint(tiny_run.best), unlabelled)
    assert found.sample_quality.verdict is None
    assert found.protocols["gray"].elbo.by_class == {}
    assert "no labels" in as_table(found)


def test_two_latents_are_drawn_as_a_manifold(blobs: ImageData, tmp_path: Path) -> None:
    settings = Settings("flat", hidden=(16,), latent_dim=2, batch_size=50, epochs=1, clip_norm=None)
    (tmp_path / "run").mkdir()
    (checkpoint,) = fit(settings, blobs, Run(tmp_path / "run"))
    files = draw_evaluation(_measure(checkpoint, blobs), checkpoint, tmp_path)
    assert {path.name for path in files} == {"samples.png", "kl_over_epochs.png", "classes.png", "manifold.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)


@pytest.mark.parametrize("with_prior", [True, False])
def test_samples_are_drawn_at_the_temperature_that_was_asked_for(
    tiny_run: Run, blobs: ImageData, with_prior: bool
) -> None:
    checkpoint = load_checkpoint(tiny_run.best)
    if with_prior:
        fitted = fit_prior(checkpoint.build_model(), blobs.train_images, blobs.train_labels, seed=0)
        checkpoint = replace(checkpoint, prior=fitted.prior)
    found = evaluate_checkpoint(
        checkpoint, blobs, k=1, images_with_k=2, samples=50, seed=3, temperature=0.5, device=CPU
    )
    warm = evaluate_checkpoint(checkpoint, blobs, k=1, images_with_k=2, samples=50, seed=3, device=CPU)
    noise = torch.from_numpy(standard_normal(3, np.arange(50), checkpoint.model_config.latent_dim))
    z = noise * 0.5
    if checkpoint.prior is not None:
        rows = checkpoint.prior.component(3, np.arange(50))
        z = (z + torch.from_numpy(checkpoint.prior.shift)[rows]) * torch.from_numpy(checkpoint.prior.scale)[rows]
    with torch.no_grad():
        torch.testing.assert_close(found.samples, checkpoint.build_model().decode(z))
    assert found.sample_quality.verdict is not None
    assert warm.sample_quality.verdict is not None
    assert found.sample_quality.verdict.fid != warm.sample_quality.verdict.fid
    assert found.sample_quality.verdict.normal_fid == warm.sample_quality.verdict.normal_fid
    table = as_table(found)
    assert "--temperature" in table
    assert f"{found.sample_quality.verdict.fid:.2f}" in table
    assert "--temperature" not in as_table(warm)
    assert max(map(len, table.splitlines())) <= 80


def test_a_temperature_that_is_no_number_is_refused_before_the_work(tiny_run: Run, blobs: ImageData) -> None:
    with pytest.raises(InputError, match="temperature should be a finite number from 0"):
        evaluate_checkpoint(load_checkpoint(tiny_run.best), blobs, k=1, images_with_k=2, samples=50, seed=0, device=CPU,
                            temperature=float("nan"))  # fmt: skip


def test_command_evaluates_a_run_and_writes_table_json_and_pictures(
    blobs: ImageData, tiny_run: Run, tmp_path: Path
) -> None:
    data = tmp_path / "blobs.npz"
    assert blobs.train_labels is not None
    assert blobs.test_labels is not None
    np.savez(data, train_images=blobs.train_images, test_images=blobs.test_images,
             train_labels=blobs.train_labels, test_labels=blobs.test_labels)  # fmt: skip
    arguments = [str(tiny_run.folder), "--k", "60", "--images", "20", "--samples", "40", "--temperature", "0.7",
                 "--device", "cpu", "--output", str(tmp_path / "e")]  # fmt: skip
    asked = CliRunner().invoke(evaluate, arguments)
    assert asked.exit_code == 1
    assert "trained on blobs; say where that lies with --dataset" in asked.output
    arguments += ["--dataset", str(data)]
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "classes.png").write_text("mine")
    refused = CliRunner().invoke(evaluate, arguments)
    assert (refused.exit_code, "classes.png: is there already" in refused.output) == (1, True), refused.output
    assert [(path.name, path.read_text()) for path in (tmp_path / "e").iterdir()] == [("classes.png", "mine")]
    result = CliRunner().invoke(evaluate, [*arguments, "--force"])
    assert result.exit_code == 0, result.output
    table = result.output.split("\nwrote")[0].splitlines()[1:]
    assert max(map(len, table)) <= 80
    content = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    nll = content["protocols"]["binarised"]["nll"]["nll"]
    assert any(line.split()[:5] == ["NLL", "by", "k", "=", "60"] and line.endswith(f"{nll:.2f}") for line in table)
    assert (tmp_path / "e" / "classes.png").read_bytes().startswith(b"\x89PNG")
    assert is_evaluation(tmp_path / "e" / "evaluation.json")  # so that it needs no --force next time
