"""Training speed on a machine that is shared: with nothing else running, and beside one process that never waits.

On two cores, a loop that spins while it waits for its own threads loses nearly all of its speed; two processes that
share fairly would each keep two thirds.

    VAE_DATA=DIR python benchmarks/busy_neighbour.py [--rounds 5] [--threads 2] [--jax PYTHON]
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import click

from trainer.memory import keep_freed_memory
from trainer.spinning import limit_spinning

limit_spinning()  # as the commands do, before torch is imported
keep_freed_memory()

import torch  # noqa: E402
from in_turn import seconds_in_turn  # type: ignore[import-not-found]  # noqa: E402
from train_speed import SETTINGS, Epoch, jax_epochs, our_epochs, processor  # type: ignore[import-not-found]  # noqa: E402

from trainer.data.dataset import ImageData  # noqa: E402
from trainer.data.load import load  # noqa: E402
from trainer.objective.bound import Objective  # noqa: E402
from trainer.objective.score import evaluate  # noqa: E402
from trainer.settings import Settings  # noqa: E402
from trainer.training.state import fresh_model  # noqa: E402
from trainer.training.steps.gemm import has_bf16  # noqa: E402


def spin() -> None:
    """What the neighbour does."""
    while True:
        pass


@contextmanager
def neighbour() -> Iterator[None]:
    """One spinning process."""
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    process.start()
    time.sleep(1)  # until it spins
    try:
        yield
    finally:
        process.terminate()
        process.join()


def scoring(data: ImageData, settings: Settings) -> Epoch:
    """The evaluation that follows each epoch."""
    model, images = fresh_model(settings, data).eval(), torch.tensor(data.test_images)
    return lambda: evaluate(model, images, objective=Objective.of(settings), seed=0).loss


def seconds_each(loops: dict[str, Epoch], rounds: int) -> dict[str, float]:
    """Median seconds of each loop, in turn."""
    return {name: median(values) for name, values in seconds_in_turn(loops, rounds).items()}


@click.command()
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), envvar="VAE_DATA", required=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Epochs of each.")
@click.option("--threads", type=click.IntRange(1), help="Processors used.  [default: torch's choice]")
@click.option("--jax", type=click.Path(exists=True, path_type=Path), help="A Python that has jax and optax: also JAX.")
def main(data_dir: Path, rounds: int, threads: int | None, jax: Path | None) -> None:
    """Print seconds of an epoch and of an evaluation, alone and beside a spinning process."""
    if threads is not None:
        torch.set_num_threads(threads)
    data, cpu = load("mnist", data_dir), torch.device("cpu")
    loops = {
        "eager": our_epochs(data, SETTINGS, cpu, kind="eager"),
        "vae-train": our_epochs(data, SETTINGS, cpu),
        "evaluation": scoring(data, SETTINGS),
    }
    if has_bf16(cpu):
        loops["vae-train bf16"] = our_epochs(data, replace(SETTINGS, precision="bf16"), cpu)
    if jax is not None:
        loops["jax"] = jax_epochs(jax, data)
    quiet = seconds_each(loops, rounds)
    with neighbour():
        shared = seconds_each(loops, rounds)
    print(f"{processor()}; {torch.get_num_threads()} threads; median of {rounds} in turn")
    print(f"{'':14} s quiet   s beside a spinning process   speed kept")
    for name in loops:
        print(f"{name:14} {quiet[name]:7.2f}   {shared[name]:27.2f}   {quiet[name] / shared[name]:10.0%}")


if __name__ == "__main__":
    main()
