"""Kill every command that writes, with SIGKILL, at random instants and at each rename, and count what is lost.

Before each kill there is a complete output of an earlier call, and a file of the user's in the same folder. After it
that output, or the new one, must be whole. Then the same command is started again and left alone: it must end with the
bytes of a run that nobody disturbed, with the user's file as it was, and with nothing hidden left behind.

    python benchmarks/faults.py [--kills 200] [--seed 0] [--command NAME ...]

With `--journal FILE` each kill is noted in a file, and the same command goes on after those that are there, so that
`--minutes` can divide the work into portions: the table is that of all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from export.bundle import publish
from export.cli import export
from runtime.bundle import Bundle
from runtime.cli import reconstruct, sample
from runtime.cli.command import Command
from trainer.checkpoint import load_checkpoint
from trainer.cli.train import train

_STEPS = ("rename", "replace", "link", "symlink", "unlink", "rmdir", "mkdir")
_TRAIN = ["--preset", "tutorial", "--hidden", "16", "--latent-dim", "4", "--batch-size", "50", "--threads", "1"]
_COUNTS = ("at random", "at a rename", "lost", "foreign touched", "leftovers")
_IMAGES, _FEW_IMAGES = 600, 40
_RAY_SHARE = 20  # one kill in so many: Ray takes ten seconds to start


@dataclass
class Case:
    """A command that writes."""

    name: str
    command: Command
    prepare: Callable[[Path], object]
    """Fill an empty folder with what is there before."""
    arguments: Callable[[Path], list[str]]
    again: Callable[[Path], list[str]]
    """Arguments of the next start."""
    check: Callable[[Path], bool]
    """Whether what can be read after a kill is whole."""
    digest: Callable[[Path], str]
    """Of the finished output."""
    foreign: str
    """The user's file, in the folder."""
    seconds: float = 0.0
    steps: int = 0
    expected: str = ""
    template: Path = Path()
    """A folder that `prepare` has filled, with the user's file."""


def start(command: Command, arguments: list[str], die_at: int | None, report: int, said: int) -> int:
    """The command in a fork of this process, which need not import torch again. Returns its id.

    die_at: number of the step (rename, unlink, …) before which it kills itself. report: descriptor to which it writes
    a byte for each step. said: descriptor to which it writes what it prints.
    """
    pid = os.fork()
    if pid:
        return pid
    os.dup2(said, 1)
    os.dup2(said, 2)
    left = die_at

    def watch(holder: Any, name: str) -> None:
        real = getattr(holder, name)

        def call(*given: Any, **options: Any) -> Any:
            nonlocal left
            if left is not None:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
            os.write(report, b".")
            return real(*given, **options)

        setattr(holder, name, call)

    for name in _STEPS:
        watch(os, name)
    watch(publish, "exchange")
    try:
        command.main(arguments, standalone_mode=False)
    except BaseException:
        os.write(said, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)


def run(command: Command, arguments: list[str]) -> tuple[float, int]:
    """Let the command end by itself. Returns its seconds and the number of its steps."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        pid = start(command, arguments, None, writer, said.fileno())
        steps, ended = 0, 0
        while not ended:
            ended, status = os.waitpid(pid, os.WNOHANG)
            try:
                steps += len(os.read(reader, 65536))
            except BlockingIOError:
                time.sleep(0.002)
        os.close(reader)
        os.close(writer)
        if status:
            said.seek(0)
            text = said.read().decode(errors="replace")
            raise click.ClickException(f"vae-{command.name} {' '.join(arguments)} failed:\n{text}")
    return time.perf_counter() - started, steps


def kill(case: Case, folder: Path, moments: random.Random) -> str:
    """Start the command and kill it at a moment that chance chooses. Returns which kind of moment it was."""
    at_rename = moments.random() < 0.5
    nowhere = os.open(os.devnull, os.O_WRONLY)
    die_at = moments.randrange(case.steps) if at_rename else None
    pid = start(case.command, case.arguments(folder), die_at, nowhere, nowhere)
    os.close(nowhere)
    if not at_rename:
        time.sleep(moments.uniform(0, case.seconds))
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "at a rename" if at_rename else "at random"


def hidden(folder: Path) -> list[Path]:
    """Whatever a command keeps from view."""
    return [
        path for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith((".part", ".part.json"))
    ]


def sha256(paths: Iterator[Path] | list[Path]) -> str:
    """Of the contents of files, in order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def weights(path: Path) -> str:
    """Of a checkpoint: its history holds times, which differ from run to run."""
    digest = hashlib.sha256()
    for tensor in load_checkpoint(path).model_state.values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def whole_bundle(folder: Path) -> bool:
    """Whether every file of the bundle is as its manifest says."""
    bundle = Bundle.open(folder)
    return all(bundle.read(name) for name in bundle.manifest.files)


def cases(work: Path) -> list[Case]:
    """All commands that write, on a small data set, checkpoint and bundle in `work`."""
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 12, 12), np.uint8)
    np.save(work / "images.npy", images)
    np.save(work / "few.npy", images[:_FEW_IMAGES])
    base = ["--dataset", str(work / "images.npy"), *_TRAIN, "--runs", str(work), "--name"]
    run(train, [*base, "begun", "--epochs", "1"])
    run(train, [*base, "other", "--epochs", "1", "--seed", "1"])
    for name, bundle in (("begun", "bundle"), ("other", "other-bundle")):
        run(export, ["--checkpoint", str(work / name / "best.pt"), "--format", "onnx", "--output", str(work / bundle)])

    def sampling(name: str, output: str, num: int, *options: str, resume: bool) -> Case:
        def arguments(folder: Path) -> list[str]:
            return [str(work / "bundle"), "--num", str(num), "--output", str(folder / output), *options]

        def prepare(folder: Path) -> None:
            if Path(output).suffix:  # a folder cannot be begun anew with another seed
                run(sample, [str(work / "bundle"), "--num", "64", "--seed", "9", "--output", str(folder / output)])

        def check(folder: Path) -> bool:
            path = folder / output
            if path.suffix == ".npy":
                return len(np.load(path)) in (64, num)
            if path.suffix == ".npz":
                with np.load(path) as arrays:
                    return len(arrays["images"]) in (64, num)
            return path.is_file() or not Path(output).suffix

        def digest(folder: Path) -> str:
            path = folder / output
            return sha256(sorted(path.iterdir()) if path.is_dir() else [path])

        def again(folder: Path) -> list[str]:
            begun = (folder / f"{output}.part").exists() or (folder / output).is_dir()
            return [*arguments(folder), *(["--resume"] if resume and begun else [])]

        return Case(name, sample, prepare, arguments, again, check, digest, "notes.txt")

    def exporting(folder: Path) -> list[str]:
        paths = ["--checkpoint", str(work / "begun/best.pt"), "--output", str(folder / "bundle")]
        return [*paths, "--format", "onnx", "--force"]

    def resuming(folder: Path) -> list[str]:
        return ["--resume", str(folder / "run"), "--epochs", "4"]

    def beginning(folder: Path) -> list[str]:
        return [*base[:-3], "--runs", str(folder / "runs"), "--name", "run", "--epochs", "2"]

    def begun(folder: Path) -> bool:
        run_folder = folder / "runs/run"
        return not (run_folder / "last.pt").exists() or bool(load_checkpoint(run_folder / "last.pt"))

    def reconstructing(folder: Path) -> list[str]:
        files = ["--output", str(folder / "x.png"), "--latents", str(folder / "x.npz")]
        return [str(work / "images.npy"), "--bundle", str(work / "bundle"), *files]

    return [
        Case(
            "train",
            train,
            lambda folder: (folder / "runs").mkdir(),
            beginning,
            lambda folder: (
                ["--resume", str(folder / "runs/run")]
                if (folder / "runs/run/config.toml").exists()
                else beginning(folder)
            ),
            begun,
            lambda folder: weights(folder / "runs/run/last.pt") + weights(folder / "runs/run/best.pt"),
            "runs/notes.txt",
        ),
        Case(
            "train --resume",
            train,
            lambda folder: shutil.copytree(work / "begun", folder / "run"),
            resuming,
            resuming,
            lambda folder: bool(load_checkpoint(folder / "run/last.pt") and load_checkpoint(folder / "run/best.pt")),
            lambda folder: weights(folder / "run/last.pt") + weights(folder / "run/best.pt"),
            "run/notes.txt",
        ),
        Case(
            "export",
            export,
            lambda folder: shutil.copytree(work / "other-bundle", folder / "bundle"),
            exporting,
            exporting,
            lambda folder: whole_bundle(folder / "bundle"),
            lambda folder: sha256(sorted((folder / "bundle").iterdir())),
            "bundle/notes.txt",
        ),
        sampling("sample to .png", "x.png", 400, resume=False),
        sampling("sample to .npy", "x.npy", 60_000, resume=True),
        sampling("sample to .npz", "x.npz", 60_000, resume=False),
        sampling("sample to a folder", "x", 2000, resume=True),
        Case(
            "reconstruct",
            reconstruct,
            lambda folder: run(
                reconstruct,
                [*reconstructing(folder)[1:], str(work / "few.npy")],
            ),
            reconstructing,
            reconstructing,
            lambda folder: (
                (folder / "x.png").is_file() and len(np.load(folder / "x.npz")["mean"]) in (_FEW_IMAGES, _IMAGES)
            ),
            lambda folder: sha256([folder / "x.png", folder / "x.npz"]),
            "notes.txt",
        ),
        sampling("sample with Ray", "ray", 60_000, "--engine", "ray", "--batch-size", "8192", resume=True),
    ]


def attack(case: Case, work: Path, moments: random.Random) -> dict[str, int]:
    """One kill, and what comes after it."""
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name) / "work"
        shutil.copytree(case.template, folder, symlinks=True)
        foreign = folder / case.foreign
        inode = foreign.stat().st_ino
        moment = kill(case, folder, moments)
        touched = not foreign.exists() or foreign.stat().st_ino != inode
        try:
            whole = case.check(folder)
            run(case.command, case.again(folder))
            whole = whole and case.digest(folder) == case.expected
        except Exception as error:
            click.echo(f"{case.name}: {error}", err=True)
            whole = False
        touched = touched or not foreign.exists() or foreign.read_text() != "mine" or foreign.stat().st_ino != inode
        left = hidden(folder)
        if left:
            click.echo(f"{case.name}: left {', '.join(path.name for path in left)}", err=True)
        return {moment: 1, "lost": not whole, "foreign touched": touched, "leftovers": bool(left)}


def measure(case: Case, work: Path) -> None:
    """Make the template, and let the command run once without a kill: how long, how many steps, which bytes."""
    case.template = work / f"{case.name} before"
    case.template.mkdir()
    case.prepare(case.template)
    (case.template / case.foreign).write_text("mine")
    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name) / "work"
        shutil.copytree(case.template, folder, symlinks=True)
        case.seconds, case.steps = run(case.command, case.arguments(folder))
        case.expected = case.digest(folder)


def print_table(lines: list[dict[str, int | str]]) -> bool:
    """A row for each command. Returns whether nothing was lost, touched or left."""
    totals = dict.fromkeys(_COUNTS, 0)
    print(f"{'command':20}" + "".join(f"{column:>17}" for column in _COUNTS))
    for name in dict.fromkeys(line["command"] for line in lines):
        counts = {key: sum(int(line.get(key, 0)) for line in lines if line["command"] == name) for key in _COUNTS}
        print(f"{name:20}" + "".join(f"{counts[column]:17}" for column in _COUNTS))
        totals = {key: totals[key] + counts[key] for key in _COUNTS}
    print(f"{'all':20}" + "".join(f"{totals[column]:17}" for column in _COUNTS))
    return not (totals["lost"] or totals["foreign touched"] or totals["leftovers"])


@click.command()
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True, help="Of all commands together.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the moments.")
@click.option("--command", "names", multiple=True, help="Only these, by their name in the table.")
@click.option("--journal", type=click.Path(path_type=Path), help="Note each kill here, and go on after those noted.")
@click.option("--minutes", type=float, default=float("inf"), help="Stop after so many, with --journal.")
def main(kills: int, seed: int, names: tuple[str, ...], journal: Path | None, minutes: float) -> None:
    """Print commands × kills × what was lost."""
    end = time.monotonic() + 60 * minutes
    torch.set_num_threads(1)  # no threads of the parent's that a fork would lose
    lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal and journal.exists() else []
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        chosen = [case for case in cases(work) if not names or case.name in names]
        quick = [case for case in chosen if "Ray" not in case.name]
        slow = [case for case in chosen if "Ray" in case.name]
        for i in range(len(lines), kills):
            pool = slow if slow and (not quick or i % _RAY_SHARE == 0) else quick
            case = pool[i % len(pool)]
            if time.monotonic() > end:
                break
            if not case.steps:
                measure(case, work)
            lines.append({"command": case.name, **attack(case, work, random.Random(f"{seed} {i}"))})
            if journal:
                with journal.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
    if not print_table(lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
