"""Kill vae-train with SIGKILL at random moments, resume it each time, and compare it with an uninterrupted run.

Kills hit the start of the process, an epoch, or the writing of a checkpoint. After each kill, existing checkpoints must
load; at the end, the weights of both runs must be bit-identical. With --photo, runs have what photos are trained with
(a moving average of the weights, random flips, a learned variance), and end by themselves, by early stopping.

    python benchmarks/random_kill.py [--kills 20] [--seed 0] [--photo]
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TextIO

import click
import numpy as np
import torch

from trainer.checkpoint import Checkpoint, load_checkpoint
from trainer.cli.train import train
from trainer.pictures import draw_run  # noqa: F401
from trainer.training.loop import fit  # noqa: F401  imported here, so that forked children need not import it

OPTIONS = ["--batch-size", "32", "--threads", "1"]
GRAY = ["--preset", "tutorial", "--hidden", "64", "--latent-dim", "8"]
# On a constant schedule, since the epochs at which a cosine would end are known only after the kills.
PHOTO = ["--preset", "photo", "--hidden", "8", "--latent-dim", "4", "--average", "0.99", "--augment", "flip",
         "--patience", "120", "--schedule", "constant"]  # fmt: skip
UNTIL_STOPPED = "1000000"


def start(arguments: list[str]) -> tuple[int, TextIO]:
    """Run vae-train in a child process, forked so that it need not import torch again. Returns its id and output."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.dup2(writer, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        try:
            train.main(arguments, standalone_mode=False)
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(writer)
    return process, os.fdopen(reader)


def run_and_kill(arguments: list[str], moment: float) -> str:
    """Start a training process and kill it. Returns what it was doing, or "finished" if it had ended before.

    moment: seconds from the first line of its history to the kill; if negative, −seconds from the start of the process.
    """
    process, output = start(arguments)
    if moment >= 0:
        for line in output:
            if line.strip()[:1].isdigit():
                break
    time.sleep(abs(moment))
    os.kill(process, signal.SIGKILL)
    output.close()
    _, status = os.waitpid(process, 0)
    return ("training" if moment >= 0 else "starting") if os.WIFSIGNALED(status) else "finished"


def run(arguments: list[str]) -> None:
    """Run a training process to its end."""
    process, output = start(arguments)
    output.read()
    if os.waitpid(process, 0)[1] != 0:
        raise click.ClickException(f"vae-train {' '.join(arguments)} failed")


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether weights and test losses are bit-identical."""
    return all(torch.equal(tensor, other.model_state[name]) for name, tensor in one.model_state.items()) and [
        metrics.test_loss for metrics in one.history
    ] == [metrics.test_loss for metrics in other.history]


@click.command()
@click.option("--kills", type=click.IntRange(1), default=20, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random moments.")
@click.option("--photo", is_flag=True, help="Colour images with moving average, flips and early stopping.")
def main(kills: int, seed: int, photo: bool) -> None:
    """Print how many kills a run survived, and whether its result is bit-identical to an uninterrupted run."""
    torch.set_num_threads(1)  # threads of the parent do not survive a fork
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shape = (1200, 12, 12, 3) if photo else (1200, 12, 12)
        np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, shape, np.uint8))
        options = [
            "--dataset",
            str(folder / "images.npy"),
            *OPTIONS,
            *(PHOTO if photo else GRAY),
            "--runs",
            str(folder),
        ]
        fresh = [*options, "--epochs", UNTIL_STOPPED, "--name", "killed"]
        resume = ["--resume", str(folder / "killed")]
        last, what, survived = folder / "killed" / "last.pt", Counter[str](), 0
        for kill in range(kills):
            has_begun = (folder / "killed" / "config.toml").is_file()
            moment = -moments.uniform(0, 0.5) if moments.random() < 0.2 else moments.uniform(0, 0.5)
            what[run_and_kill(resume if has_begun else fresh, moment)] += 1
            unfinished = list((folder / "killed").glob(f".*.{'[0-9a-f]' * 8}.*"))
            what["in the middle of a write"] += bool(unfinished)
            checkpoints = [load_checkpoint(path) for path in (last, last.with_name("best.pt")) if path.is_file()]
            survived += 1
            epochs = checkpoints[0].epoch if checkpoints else 0
            print(
                f"kill {kill + 1:2d}: {epochs} epochs saved{', and a temporary file left' if unfinished else ''}",
                flush=True,
            )
        total = UNTIL_STOPPED if photo else str(load_checkpoint(last).epoch + 1)
        run([*resume, "--epochs", total])
        undisturbed = [*options, "--epochs", total, "--name", "undisturbed"]
        run(undisturbed)
        epochs = load_checkpoint(last).epoch
        equal = [
            same(load_checkpoint(folder / "killed" / file), load_checkpoint(folder / "undisturbed" / file))
            for file in ("last.pt", "best.pt")
        ]
    print(f"{survived} of {kills} kills survived ({', '.join(f'{count} {when}' for when, count in what.items())})")
    for file, is_equal in zip(("last.pt", "best.pt"), equal, strict=True):
        verdict = "is bit-identical to" if is_equal else "DIFFERS FROM"
        print(f"after {epochs} epochs, {file} {verdict} the uninterrupted run's")
    if not all(equal):
        sys.exit(1)


if __name__ == "__main__":
    main()
