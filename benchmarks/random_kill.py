"""Kill vae-train with SIGKILL at random moments, resume it each time, and compare with a run that nobody disturbed.

A moment may fall into the start of the process, an epoch, or the writing of a checkpoint. After each kill the
checkpoints that are there must load; after the last one, the weights of both runs must be equal to the bit.

    python benchmarks/random_kill.py [--kills 20] [--seed 0]
"""

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
import torch

from trainer.checkpoint import Checkpoint, load_checkpoint

VAE_TRAIN = [sys.executable, "-u", "-c", "from trainer.cli import train; train()"]
OPTIONS = ["--hidden", "64", "--latent-dim", "8", "--batch-size", "32", "--threads", "1", "--preset", "tutorial"]


def run_and_kill(arguments: list[str], moment: float) -> str:
    """Start a training process, kill it `moment` seconds after its first row of history, or, where that is negative,
    that long after its start. Returns what it was doing, or "finished"."""
    process = subprocess.Popen([*VAE_TRAIN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    if moment >= 0:
        for line in process.stdout:
            if line.strip()[:1].isdigit():
                break
    time.sleep(abs(moment))
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    return ("training" if moment >= 0 else "starting") if process.wait() == -signal.SIGKILL else "finished"


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether weights and test losses are equal to the bit."""
    return all(torch.equal(tensor, other.model_state[name]) for name, tensor in one.model_state.items()) and [
        metrics.test_loss for metrics in one.history
    ] == [metrics.test_loss for metrics in other.history]


@click.command()
@click.option("--kills", type=click.IntRange(1), default=20, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the moments.")
def main(kills: int, seed: int) -> None:
    """Print how many kills a run survived, and whether it ended in the bits of an undisturbed one."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (1200, 12, 12), np.uint8))
        options = ["--dataset", str(folder / "images.npy"), *OPTIONS, "--runs", str(folder)]
        start = [*options, "--epochs", "1000000", "--name", "killed"]
        resume = ["--resume", str(folder / "killed")]
        last, what, survived = folder / "killed" / "last.pt", Counter[str](), 0
        for kill in range(kills):
            has_begun = (folder / "killed" / "config.toml").is_file()
            moment = -moments.uniform(0.1, 3) if moments.random() < 0.2 else moments.uniform(0, 0.5)
            what[run_and_kill(resume if has_begun else start, moment)] += 1
            unfinished = list((folder / "killed").glob(".*.part"))
            what["in the middle of a write"] += bool(unfinished)
            checkpoints = [load_checkpoint(path) for path in (last, last.with_name("best.pt")) if path.is_file()]
            survived += 1
            epochs = checkpoints[0].epoch if checkpoints else 0
            print(f"kill {kill + 1:2d}: {epochs} epochs saved{', a half-written file beside' if unfinished else ''}")
        total = str(load_checkpoint(last).epoch + 1)
        subprocess.run([*VAE_TRAIN, *resume, "--epochs", total], check=True, stdout=subprocess.DEVNULL)
        undisturbed = [*options, "--epochs", total, "--name", "undisturbed"]
        subprocess.run([*VAE_TRAIN, *undisturbed], check=True, stdout=subprocess.DEVNULL)
        equal = [
            same(load_checkpoint(folder / "killed" / file), load_checkpoint(folder / "undisturbed" / file))
            for file in ("last.pt", "best.pt")
        ]
    print(f"{survived} of {kills} kills survived ({', '.join(f'{count} {when}' for when, count in what.items())})")
    for file, is_equal in zip(("last.pt", "best.pt"), equal, strict=True):
        verdict = "equals" if is_equal else "DIFFERS FROM"
        print(f"after {total} epochs {file} {verdict} the undisturbed run's to the bit")
    if not all(equal):
        sys.exit(1)


if __name__ == "__main__":
    main()
