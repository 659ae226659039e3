"""Sampling on Ray compared with plain `vae-sample`: speed, equality of the images, killed workers, cost per file.

    python benchmarks/ray_scale.py [BUNDLE] [--num 1000000] [--rounds 3]

In each round, plain `vae-sample` (one thread per core) and Ray with 1 and 2 workers run once each, in new processes.
Figures are medians over the rounds. Times start at the first image; start-up is listed separately. Linux only, because
it reads /proc.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.machine.cpus import usable_cpus
from runtime.machine.description import cpu
from runtime.sampler import Sampler

WORKERS = (1, 2)
CODECS = (("none", None), ("snappy", None), ("lz4", None), ("zstd", 1), ("zstd", 3))
CODEC_IMAGES = 65_536
SMALL_FILES, SMALL_WORKERS = 1000, 8

_PLAIN = """
import sys
from runtime.cli import sample
sample(sys.argv[1:], standalone_mode=False)
"""
# One job on Ray; prints when its driver is ready, and its times and memory at the end.
_ON_RAY = """
import json, os, resource, sys, time
started = time.perf_counter()
from pathlib import Path
import ray
from runtime.job import SampleJob
from runtime.ray.folder import fill_folder
from runtime.ray.job import ParquetJob
from runtime.sampler import Sampler

bundle, workers, num, images_per_file, folder = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
sampler = Sampler(bundle)
os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="CRITICAL")
ray.data.DataContext.get_current().enable_progress_bars = False
import logging
logging.getLogger("ray.data").setLevel(logging.CRITICAL)

def fill(num, size, folder):
    job = ParquetJob.of(sampler, num, seed=0, first=0, temperature=1.0, images_per_file=size or None)
    part = SampleJob.of(sampler, num, seed=0, first=0, temperature=1.0)
    return fill_folder(sampler, job, part, folder, resume=False)

initialised = time.perf_counter()
def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
cpu_before, memory_before = usage()
print("ready", flush=True)
filled = fill(num, images_per_file, folder)
cpu_after, memory_after = usage()
print(json.dumps({
    "init_s": initialised - started, "workers_s": filled.starting_s, "drawing_s": filled.drawing_s,
    "driver_cpu_s": cpu_after - cpu_before, "driver_mb": memory_after, "driver_growth_mb": memory_after - memory_before,
}))
"""


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path), default=Path("runs/latest/bundle"))
@click.option("--num", type=click.IntRange(1), default=1_000_000, show_default=True, help="Images per job.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(bundle: Path, num: int, rounds: int) -> None:
    """Print the tables."""
    import ray

    print(f"{cpu()['model']}, {os.cpu_count()} cores; Ray {ray.__version__}, pyarrow {pa.__version__}; {num:,} images")
    shape = "×".join(map(str, Sampler(bundle).pixels_shape))
    print(f"{shape} pixels, median of {rounds} round{'s' * (rounds > 1)}, followed by minimum and maximum\n")
    with tempfile.TemporaryDirectory() as scratch:
        beside_plain(bundle, num, rounds, Path(scratch))
        killed_workers(bundle, num, Path(scratch))
        cost_of_a_file(bundle, Path(scratch))
    codecs(bundle)


def beside_plain(bundle: Path, num: int, rounds: int, scratch: Path) -> None:
    """Compare images per second, start-up time, memory and pixels of the plain command and of Ray."""
    array = scratch / "plain.npy"
    plain: list[float] = []
    ours: dict[int, list[dict[str, float]]] = {workers: [] for workers in WORKERS}
    for _ in range(rounds):
        plain.append(_plain(bundle, num, array))
        for workers in WORKERS:
            ours[workers].append(_on_ray(bundle, workers, num, scratch / f"rows{workers}"))
    base, cores = median(plain), usable_cpus()
    print("                                                   of   core-s a     start of, s     peak MB of")
    print("                  images/s                      plain    million    Ray  workers  worker  driver")
    print(f"plain, {cores} threads {base:9,.0f}  {spread(plain):20} {1:9.2f} {1e6 * cores / base:10.2f}")
    for workers, runs in ours.items():
        figures = {name: median(run[name] for run in runs) for name in runs[0]}
        rates = [num / run["drawing_s"] for run in runs]
        rate = median(rates)
        print(
            f"{f'Ray, {count(workers)}':16} {rate:9,.0f}  {spread(rates):20} {rate / base:9.2f} "
            f"{1e6 * workers / rate:10.2f} {figures['init_s']:6.1f} {figures['workers_s']:8.1f} "
            f"{figures['worker_mb']:7.0f} {figures['driver_mb']:7.0f}"
        )
    pixels = np.load(array, mmap_mode="r")
    expected = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    size = sum(path.stat().st_size for path in (scratch / f"rows{WORKERS[-1]}").glob("*.parquet"))
    print(f"\nParquet {size / num:.1f} bytes an image, .npy {array.stat().st_size / num:.1f}")
    for workers in WORKERS:
        found = content_hash(scratch / f"rows{workers}", num)
        print(
            f"{count(workers)}: rows complete, unique; pixels {'equal' if found == expected else 'DIFFER from'} "
            f"{'to ' if found == expected else ''}vae-sample's, sha256 {found[:16]}…"
        )


def killed_workers(bundle: Path, num: int, scratch: Path) -> None:
    """Run the same job with two workers killed in the middle of a task."""
    folder = scratch / "killed"
    process = _start_on_ray(bundle, WORKERS[-1], num, 0, folder)
    assert process.stdout is not None
    process.stdout.readline()
    killed: list[int] = []
    files = len(list((scratch / f"rows{WORKERS[-1]}").glob("*.parquet")))

    def kill() -> None:
        while len(killed) < 2 and process.poll() is None:
            alive = [worker for worker in _workers(process.pid) if worker not in killed]
            if alive and len(list(folder.glob("0*.parquet"))) > len(killed) * files // 3:
                os.kill(alive[0], signal.SIGKILL)
                killed.append(alive[0])
            time.sleep(0.005)

    killer = threading.Thread(target=kill)
    killer.start()
    report = _report(process)
    killer.join()
    undisturbed = content_hash(scratch / f"rows{WORKERS[-1]}", num)
    same = "the same" if content_hash(folder, num) == undisturbed else "DIFFERS"
    print(
        f"{len(killed)} workers killed midway: {report['drawing_s']:.1f} s, content {'the same' if same else 'DIFFERS'}"
    )


def cost_of_a_file(bundle: Path, scratch: Path) -> None:
    """Measure CPU time and memory of Ray's driver per file, with many files of one small block."""
    block = Sampler(bundle).block
    report = _on_ray(bundle, SMALL_WORKERS, SMALL_FILES * block, scratch / "small", block)
    seconds, kilobytes = report["driver_cpu_s"] / SMALL_FILES, 1e3 * report["driver_growth_mb"] / SMALL_FILES
    print(f"\n{SMALL_FILES:,} files of {block} images, {SMALL_WORKERS} workers: {report['drawing_s']:.1f} s; for each")
    print(f"file, the driver takes {1e3 * seconds:.1f} ms of CPU and {kilobytes:.0f} kB")


def codecs(bundle: Path) -> None:
    """Measure size and speed of Parquet's compression codecs in one thread."""
    sampler = Sampler(bundle)
    pixels = sampler.sample(CODEC_IMAGES)
    image_bytes = pixels[0].size
    image = pa.FixedSizeBinaryArray.from_buffers(pa.binary(image_bytes), len(pixels), [None, pa.py_buffer(pixels)])
    table = pa.table({"index": pa.array(np.arange(len(pixels))), "image": image})
    print("\ncompression      bytes/image     images/s in one thread")
    for codec, level in CODECS:
        seconds = []
        for _ in range(3):
            sink = pa.BufferOutputStream()
            started = time.perf_counter()
            pq.write_table(table, sink, compression=codec, compression_level=level, use_dictionary=False)
            seconds.append(time.perf_counter() - started)
        name = codec if level is None else f"{codec} {level}"
        print(f"{name:16} {sink.getvalue().size / len(pixels):11.1f} {len(pixels) / min(seconds):26,.0f}")


def content_hash(folder: Path, num: int) -> str:
    """sha256 of all pixels in the order of their indices, after checking that these are 0 to num - 1, each once."""
    digest, at = hashlib.sha256(), 0
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        index = table["index"].to_numpy()
        if (index != np.arange(at, at + len(index))).any():
            raise click.ClickException(f"{path}: its indices should start at {at} without gaps")
        at += len(index)
        for chunk in table["image"].chunks:
            width = chunk.type.byte_width
            digest.update(memoryview(chunk.buffers()[1])[chunk.offset * width : (chunk.offset + len(chunk)) * width])
    if at != num:
        raise click.ClickException(f"{folder}: has {at:,} rows instead of {num:,}")
    return digest.hexdigest()


def count(workers: int) -> str:
    """1 worker, 2 workers."""
    return f"{workers} worker{'s' * (workers > 1)}"


def spread(rates: Sequence[float]) -> str:
    """Minimum and maximum."""
    return f"{min(rates):,.0f} to {max(rates):,.0f}"


def _plain(bundle: Path, num: int, output: Path) -> float:
    """Images per second as printed by the command, which excludes its start-up."""
    arguments = [str(bundle), "--num", str(num), "--output", str(output)]
    done = subprocess.run([sys.executable, "-c", _PLAIN, *arguments], check=True, capture_output=True, text=True)
    (rate,) = re.findall(r"([\d,]+) images/s", done.stdout)
    return float(rate.replace(",", ""))


def _start_on_ray(bundle: Path, workers: int, num: int, images_per_file: int, folder: Path) -> subprocess.Popen[str]:
    """images_per_file: 0 for the default."""
    arguments = [str(bundle), str(workers), str(num), str(images_per_file), str(folder)]
    return subprocess.Popen([sys.executable, "-c", _ON_RAY, *arguments], stdout=subprocess.PIPE, text=True)


def _on_ray(bundle: Path, workers: int, num: int, folder: Path, images_per_file: int = 0) -> dict[str, float]:
    return _report(_start_on_ray(bundle, workers, num, images_per_file, folder))


def _report(process: subprocess.Popen[str]) -> dict[str, float]:
    """The report that the process prints, extracted from Ray's messages about dead workers."""
    peak_kb = 0
    while process.poll() is None:
        peak_kb = max([peak_kb, *_workers(process.pid).values()])
        time.sleep(0.3)
    lines = process.communicate()[0].splitlines()
    if process.returncode != 0:
        raise click.ClickException(f"a job on Ray ended with exit code {process.returncode}")
    (line,) = (line for line in lines if line.startswith("{"))
    report: dict[str, float] = json.loads(line)
    return report | {"worker_mb": peak_kb * 1024 / 1e6}


def _workers(driver: int) -> dict[int, int]:
    """Process id → peak memory in kB of the Ray workers that belong to the process `driver`."""
    found, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (path / "cmdline").read_text(), (path / "status").read_text()
        except OSError:  # the process has ended
            continue
        parents[int(path.name)] = int(status.split("PPid:")[1].split()[0])
        if command.startswith("ray::MapWorker") and "VmHWM:" in status:
            found[int(path.name)] = int(status.split("VmHWM:")[1].split()[0])

    def belongs(process: int) -> bool:
        return process == driver or (process in parents and belongs(parents[process]))

    return {process: peak for process, peak in found.items() if belongs(process)}


if __name__ == "__main__":
    main()
