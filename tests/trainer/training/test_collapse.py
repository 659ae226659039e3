"""Posterior collapse is reported when it is provoked, and the suggested options avoid it."""

from dataclasses import replace
from pathlib import Path

from trainer.checkpoint import EpochMetrics
from trainer.data.dataset import ImageData
from trainer.settings import Settings
from trainer.training.collapse import collapse_warning
from trainer.training.loop import fit
from trainer.training.run_folder import Run


def warnings(settings: Settings, data: ImageData, folder: Path) -> tuple[list[str], EpochMetrics]:
    found = []
    for state in fit(settings, data, Run(folder)):
        if warning := collapse_warning(state.history, settings):
            found.append(warning)
    return found, state.history[-1]


def test_a_large_beta_collapses_the_posterior_and_the_suggested_options_prevent_it(
    tiny_settings: Settings, blobs: ImageData, tmp_path: Path
) -> None:
    heavy = replace(tiny_settings, beta=30.0, epochs=6, learning_rate=1e-2, clip_norm=None)
    found, last = warnings(heavy, blobs, tmp_path / "collapsed")
    assert last.active_units == 0
    assert len(found) == 1
    assert "the posterior has collapsed" in found[0]
    assert "try a lower --beta, or --free-bits 0.5" in found[0]

    _, last = warnings(replace(heavy, beta=1.0, free_bits=0.5, epochs=12), blobs, tmp_path / "cured")
    assert last.active_units > 0


def history(*kls: tuple[float, ...]) -> list[EpochMetrics]:
    return [
        EpochMetrics(i + 1, 0, 0, 0, 0, 0, sum(kl), 0, active_units=2, test_kl_per_dimension=kl)
        for i, kl in enumerate(kls)
    ]


def test_the_first_lost_dimension_is_reported_once_and_one_never_used_is_not(tiny_settings: Settings) -> None:
    epochs = history((0.5, 0.001, 0.5), (0.05, 0.001, 0.5), (0.005, 0.001, 0.5), (0.004, 0.001, 0.001))
    found = [collapse_warning(epochs[:n], tiny_settings) for n in (1, 2, 3, 4)]
    assert [text is not None for text in found] == [False, False, True, False]
    assert found[2] is not None
    assert "latent dimension 0 has collapsed" in found[2]
    assert "--free-bits 0.5 or --kl-warmup 5" in found[2]
