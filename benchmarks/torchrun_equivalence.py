"""Training under torchrun compared with one process: losses are equal up to rounding; measures the time per epoch.

MNIST with the tutorial preset, a total batch of 128, on CPUs with gloo. In float64, the losses show that the
computation is the same. In float32, the usual dtype, this model amplifies rounding differences until the third
digit differs. A single process shows the same effect if its gradient is summed in a different order (by autograd
instead of the closed form). In one job a process is killed with SIGKILL in the middle of an epoch, and the job is
resumed with a different number of processes. All processes share the cores of one machine, also for communication.
Needs Linux.

    VAE_DATA=DIR python benchmarks/torchrun_equivalence.py [--epochs 2] [--processes 2 --processes 3]
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
import torch

from trainer.checkpoint import load_checkpoint
from trainer.data.load import load
from trainer.settings import PRESETS
from trainer.training.epoch import train_epoch
from trainer.training.execution import Execution
from trainer.training.state import TrainingState, fresh_model
from trainer.training.steps.autograd import AutogradStep

SETTINGS = PRESETS["tutorial"]
Epochs = list[dict[str, float]]
"""Per epoch: training loss and its two terms, in nats per image, and seconds."""


def train(processes: int, arguments: list[str]) -> None:
    """Run a Python program to its end, under torchrun if `processes` is more than 1."""
    done = subprocess.run(command(processes, arguments), capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{processes} processes failed:\n{done.stderr}")


def command(processes: int, arguments: list[str]) -> list[str]:
    """The command line that starts it."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if processes > 1 else []
    return [sys.executable, *launcher, *arguments]


def train_and_kill(processes: int, arguments: list[str], rank: int) -> int:
    """Send SIGKILL to one process during the second epoch. Returns torchrun's exit code."""
    job = subprocess.Popen(
        command(processes, arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert job.stdout is not None
    next(line for line in job.stdout if line.strip()[:2] == "1 ")
    time.sleep(random.Random(rank).uniform(0.5, 2))
    os.kill(process_id(job.pid, rank), signal.SIGKILL)
    job.stdout.read()
    return job.wait()


def process_id(job: int, rank: int) -> int:
    """The process id of the given rank among torchrun's children."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == job and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except FileNotFoundError:
            continue  # it has ended meanwhile
    raise click.ClickException(f"no process of rank {rank} is left")


def work(data_dir: Path, epochs: int, dtype: str, by_autograd: bool, result: Path) -> None:
    """Train in this process, possibly one of several started by torchrun, and write the epochs to a file."""
    torch.set_default_dtype(getattr(torch, dtype))
    data = load("mnist", data_dir)
    execution = Execution.choose(SETTINGS, device="cpu", threads=1)
    team = execution.team
    state = TrainingState.start(fresh_model(SETTINGS, data), SETTINGS, execution)
    if by_autograd:
        state = replace(state, step=AutogradStep(state.model, state.weights, state.optimizer, SETTINGS))
    found, images = [], torch.tensor(data.train_images)
    for epoch in range(1, epochs + 1):
        started = time.perf_counter()
        totals = train_epoch(state, images, SETTINGS, epoch)
        seconds = time.perf_counter() - started
        found.append(
            {"loss": totals.loss, "reconstruction": totals.reconstruction, "kl": totals.kl, "seconds": seconds}
        )
    if team.leads:
        result.write_text(json.dumps(found))
    team.leave()
    os._exit(0)  # see `Team.leave`


def epochs_of(run: Path) -> Epochs:
    """The epochs in a run's history."""
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [
        {term: row[f"train_{term}"] for term in ("loss", "reconstruction", "kl")}
        | {"seconds": 60_000 / row["images_per_s"]}
        for row in rows
    ]


def print_row(label: str, found: Epochs, reference: Epochs) -> None:
    """Print one line of a table, with the largest relative difference of an epoch's loss from the reference."""
    differences = [abs(row["loss"] / expected["loss"] - 1) for row, expected in zip(found, reference, strict=True)]
    seconds = median(row["seconds"] for row in found)
    print(f"{label:26} {seconds:7.2f}   {found[-1]['loss']:12.6f}   {max(differences):.1e}", flush=True)


@click.command()
@click.option("--data-dir", type=click.Path(exists=True, path_type=Path), envvar="VAE_DATA", required=True)
@click.option("--epochs", type=click.IntRange(2), default=2, show_default=True)
@click.option("--processes", type=click.IntRange(2), multiple=True, default=(2, 3), show_default=True)
@click.option(
    "--work", "worker", type=click.Path(path_type=Path), hidden=True, help="Used internally for child processes."
)
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float64", hidden=True)
@click.option("--by-autograd", is_flag=True, hidden=True)
def main(
    data_dir: Path, epochs: int, processes: tuple[int, ...], worker: Path | None, dtype: str, by_autograd: bool
) -> None:
    """Print seconds per epoch, the loss of the last epoch, and its difference from that of one process."""
    if worker is not None:
        work(data_dir, epochs, dtype, by_autograd, worker)
        return
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name)
        again = [__file__, "--data-dir", str(data_dir), "--epochs", str(epochs), "--work", str(runs / "result.json")]
        print(f"784-256-256-32 on MNIST, {epochs} epochs, total batch 128, one thread per process")
        print(f"{'processes':26} s/epoch     train loss   largest relative difference from 1")
        print("float64")
        reference: Epochs = []
        for count in (1, *processes):
            train(count, again)
            found = json.loads((runs / "result.json").read_text())
            reference = reference or found
            print_row(str(count), found, reference)

        print("float32")
        options = ["-m", "trainer", "--dataset", "mnist", "--data-dir", str(data_dir), "--runs", name]
        options += ["--threads", "1", "--epochs", str(epochs), "--device", "cpu"]
        train(1, [*options, "--name", "1"])
        reference = epochs_of(runs / "1")
        print_row("1", reference, reference)
        train(1, [*again, "--dtype", "float32", "--by-autograd"])
        print_row("1, in another order", json.loads((runs / "result.json").read_text()), reference)
        for count in processes:
            train(count, [*options, "--name", str(count)])
            print_row(str(count), epochs_of(runs / str(count)), reference)

        before, after = processes[0], processes[-1]
        code = train_and_kill(before, [*options, "--name", "killed"], rank=before - 1)
        whole = load_checkpoint(runs / "killed" / "last.pt").epoch
        train(after, ["-m", "trainer", "--resume", str(runs / "killed")])
        print_row(f"{before}, killed, then {after}", epochs_of(runs / "killed"), reference)
        print(f"the killed job ended with exit code {code}; its last.pt is complete, with epoch {whole}")


if __name__ == "__main__":
    main()
