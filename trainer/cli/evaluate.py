"""`vae-evaluate`: parses options, calls `evaluate_checkpoint`, and writes table, JSON and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.command import temperature_option
from runtime.files.atomic import write_atomically
from runtime.files.regular import read_text
from trainer.cli.command import TrainerCommand, device_option, threads_option
from trainer.cli.config_file import read_toml
from trainer.cli.data_options import data_options, load_data
from trainer.errors import DataError

if TYPE_CHECKING:
    import torch

    from trainer.checkpoint import Checkpoint
    from trainer.data.dataset import ImageData
    from trainer.evaluation.evaluate import Evaluation

_RECORD = "evaluation.json"


class _EvaluateCommand(TrainerCommand):
    out_of_memory = "there is not enough memory for this; try smaller --samples, --k or --images"


@click.command(cls=_EvaluateCommand)
@click.argument("target", type=click.Path(path_type=Path), default=Path("runs/latest"), metavar="[RUN|CHECKPOINT]")
@data_options("the data set that the checkpoint names")
@click.option(
    "--k", type=click.IntRange(1), default=5000, show_default=True, help="Importance samples per image for the NLL."
)
@click.option(
    "--images",
    type=click.IntRange(2),
    default=1000,
    show_default=True,
    help="Test images, evenly spaced, that get --k samples; the others get 50, corrected by the mean gain of these.",
)
@click.option(
    "--samples",
    type=click.IntRange(2),
    help="Images to sample from the prior and score.  [default: 10,000; 1,000 of images above 64×64×3]",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of all random draws."
)
@temperature_option
@device_option("evaluate")
@threads_option
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for evaluation.json and pictures.  [default: evaluation, next to the checkpoint]",
)
@click.option("--force", is_flag=True, help="Replace files in --output that vae-evaluate did not write.")
def evaluate(
    target: Path,
    dataset: str | None,
    data_dir: Path | None,
    k: int,
    images: int,
    samples: int | None,
    seed: int,
    temperature: float,
    device: str,
    threads: int | None,
    output: Path | None,
    force: bool,
) -> None:
    """Evaluate a trained model: bounds on its likelihood, active latents, sample quality.

    RUN is the folder of a run, whose best.pt is evaluated  [default: runs/latest].
    """
    import torch

    from runtime.outputs.foreign import replacing_ours_in
    from trainer.checkpoint import load_checkpoint
    from trainer.device import choose_device, peak_memory_mb
    from trainer.evaluation.figures import PICTURES, draw_evaluation
    from trainer.evaluation.table import as_table

    checkpoint_path = target / "best.pt" if target.is_dir() else target
    checkpoint = load_checkpoint(checkpoint_path)
    where = choose_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    data = _load_same(checkpoint, checkpoint_path.parent / "config.toml", dataset, data_dir)
    folder = output or checkpoint_path.parent / "evaluation"
    with replacing_ours_in(folder, (_RECORD, *PICTURES), is_evaluation, "vae-evaluate", force=force):
        found = _evaluate_with_progress(checkpoint, data, k, images, samples, seed, temperature, where)
        write_atomically(folder / _RECORD, (json.dumps(found.to_dict(), indent=1) + "\n").encode())
        pictures = draw_evaluation(found, checkpoint, folder)
    click.echo(f"evaluated {checkpoint_path}\n{as_table(found)}")
    click.echo(f"\nwrote     {folder}/ {_RECORD}\n          {', '.join(path.name for path in pictures)}")
    if (peak := peak_memory_mb()) is not None:
        click.echo(f"peak      {peak:,.0f} MB of memory")


def is_evaluation(path: Path) -> bool:
    """Whether the file at `path` is an `evaluation.json` of this command."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "protocols" in content


def _load_same(checkpoint: Checkpoint, config: Path, dataset: str | None, data_dir: Path | None) -> ImageData:
    """The data set of the checkpoint, with its image size and channels.

    config: the config.toml of the run, which says where the data set is unless `dataset` does. Raises DataError where
    it cannot be found.
    """
    from trainer.data.load import NAMES

    record = checkpoint.data
    if dataset is None and config.is_file():
        options = read_toml(config)
        for key in ("dataset", "data-dir"):
            if not isinstance(options.get(key, ""), str):
                raise DataError(f"{config}: {key} should be text but is {options[key]!r:.100}")
        dataset = options.get("dataset") or None
        if data_dir is None and "data-dir" in options and Path(options["data-dir"]).is_dir():
            data_dir = Path(options["data-dir"])
        if dataset is not None and dataset not in NAMES and not Path(dataset).exists():
            raise DataError(f"the data of this run are no longer at {dataset}; say where they are with --dataset PATH")
    if dataset is None and record.name not in NAMES:
        raise DataError(f"the checkpoint was trained on {record.name}; say where that lies with --dataset PATH")
    channels, height, width = checkpoint.model_config.image_shape
    return load_data(dataset or record.name, data_dir, height if height == width else None, channels)


def _evaluate_with_progress(
    checkpoint: Checkpoint,
    data: ImageData,
    k: int,
    images: int,
    samples: int | None,
    seed: int,
    temperature: float,
    device: torch.device,
) -> Evaluation:
    from tqdm import tqdm

    from trainer.evaluation.evaluate import evaluate_checkpoint

    with tqdm(unit_scale=True, disable=None, leave=False, mininterval=0.2) as bar:
        current = ""

        def progress(what: str, done: int, total: int) -> None:
            nonlocal current
            if what != current:
                current = what
                bar.reset(total)
                bar.set_description(what)
            bar.update(done)

        return evaluate_checkpoint(
            checkpoint,
            data,
            k=k,
            images_with_k=min(images, len(data.test_images)),
            samples=samples,
            seed=seed,
            temperature=temperature,
            device=device,
            progress=progress,
        )
