"""The C source, its weights in 32, 16 and 8 bits, beside onnxruntime and the package emx-onnx-cgen, each on one thread:
size, compile time, speed.

    python benchmarks/c_speed.py [CHECKPOINT] [--rounds 7] [--emx PATH]

CHECKPOINT is one of vae-train. PATH is the program emx-onnx-cgen, in an environment of its own. Every side decodes the
same number of images from latents; the last columns are seeds to pixels, which only this project's C does. All sides
take turns within each round; figures are medians over the rounds.
"""

from __future__ import annotations

import math
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import numpy as np
import onnxruntime

from export import export_bundle
from runtime.bundle import Bundle
from runtime.machine.description import cpu
from runtime.manifest import C_VARIANTS
from trainer.checkpoint import load_checkpoint

BATCH = 64  # of onnxruntime and emx-onnx-cgen; onnxruntime is within 6 % of its best there
IMAGES = 4096  # a side and round
SINGLES = 500
FLAGS = (("-O2",), ("-O3", "-march=native"))

_OURS = """
#include "generator.h"
#define DECODE(z, count, image) vae_decode_batch(z, count, image)
#define DECODE_ONE(z, image) vae_decode(z, image)
#define SAMPLE(count, pixels) vae_sample_batch(0, indices, count, -1, 1.0f, pixels)
#define SAMPLE_ONE(index, pixels) vae_sample(0, index, -1, 1.0f, pixels)
"""
_EMX = """
void emx_decoder(int N, const float *z, float *image);
#define DECODE(z, count, image) emx_decoder(count, z, image)
#define DECODE_ONE(z, image) emx_decoder(1, z, image)
#define SAMPLE(count, pixels) (void)(pixels)
#define SAMPLE_ONE(index, pixels) (void)(pixels)
"""
_MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <time.h>
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static float z[BATCH * LATENT_DIM], image[BATCH * PIXELS];
static uint8_t pixels[BATCH * PIXELS];
static uint64_t indices[BATCH];
int main(int argc, char **argv) {
    const int images = argc > 1 ? IMAGES : BATCH, singles = argc > 1 ? SINGLES : 1;
    double times[5];
    (void)argv;
    for (int i = 0; i < BATCH * LATENT_DIM; ++i) z[i] = (float)(i % 7) * 0.3f - 0.9f;
    times[0] = now();
    for (int i = 0; i < images; i += BATCH) DECODE(z, BATCH, image);
    times[1] = now();
    for (int i = 0; i < singles; ++i) DECODE_ONE(z, image);
    times[2] = now();
    for (int i = 0; i < images; i += BATCH) {
        for (int j = 0; j < BATCH; ++j) indices[j] = (uint64_t)(i + j);
        SAMPLE(BATCH, pixels);
    }
    times[3] = now();
    for (int i = 0; i < singles; ++i) SAMPLE_ONE((uint64_t)i, pixels);
    times[4] = now();
    printf("%g %g %g %g\\n", images / (times[1] - times[0]), 1e6 * (times[2] - times[1]) / singles,
           images / (times[3] - times[2]), 1e6 * (times[4] - times[3]) / singles);
    return 0;
}
"""


@dataclass
class Side:
    """One program or engine."""

    name: str
    measure: Callable[[], list[float]]
    """Decoded images a second in batches and microseconds for one, then the same from seed to pixels."""
    size: str = ""


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, path_type=Path), default=Path("runs/latest/best.pt"))
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--emx", type=click.Path(exists=True, path_type=Path), help="The program emx-onnx-cgen.")
def main(checkpoint: Path, rounds: int, emx: Path | None) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        export_bundle(load_checkpoint(checkpoint), folder / "bundle", formats=("onnx", "c"), variants=tuple(C_VARIANTS))
        metadata = Bundle.open(folder / "bundle").manifest.metadata
        pixels = math.prod(metadata.image_shape)
        sizes = {
            "BATCH": BATCH,
            "IMAGES": IMAGES,
            "SINGLES": SINGLES,
            "LATENT_DIM": metadata.latent_dim,
            "PIXELS": pixels,
        }
        constants = "".join(f"#define {key} {value}\n" for key, value in sizes.items())
        for name in ("generator.h", "generator.c", *C_VARIANTS.values(), "decoder.onnx"):
            shutil.copy(folder / "bundle" / name, folder / name)
        (folder / "ours.c").write_text(constants + _OURS + _MAIN)
        files = {"C source": ("ours.c", "generator.c")}
        files |= {f"C source, {name.removeprefix('c-')}": ("ours.c", file) for name, file in C_VARIANTS.items()}
        if emx:
            options = ["--model-name", "emx_decoder", "--large-weight-threshold", "0", "--large-temp-threshold", "0"]
            paths = [str(path) for path in (emx, "compile", folder / "decoder.onnx", folder / "emx.c")]
            subprocess.run([*paths, *options], check=True, capture_output=True)
            (folder / "other.c").write_text(constants + _EMX + _MAIN)
            files["emx-onnx-cgen"] = ("other.c", "emx.c")
        compilers = [compiler for compiler in ("gcc", "clang") if shutil.which(compiler)]
        sides = [
            _compiled(name, folder, names, (compiler, *flags))
            for name, names in files.items()
            for compiler in compilers
            for flags in FLAGS
        ]
        sides.append(_onnxruntime((folder / "decoder.onnx").read_bytes(), metadata.latent_dim))
        figures: dict[str, list[list[float]]] = {side.name: [] for side in sides}
        for _ in range(rounds + 1):
            for side in sides:
                figures[side.name].append(side.measure())
    print(f"{metadata.provenance['architecture']}; {cpu()['model']}, one thread, median of {rounds} rounds; ", end="")
    print(f"{platform.system()} {platform.machine()}, onnxruntime {onnxruntime.__version__}\n")
    print("| | source, object, compile time | images/s decoded | one, µs | images/s from seeds | one, µs |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for side in sides:
        cells = [median(column) for column in zip(*figures[side.name][1:], strict=True)]  # the first round warms up
        seeds = [f"{cells[2]:,.0f}", f"{cells[3]:.1f}"] if side.name.startswith("C source") else ["–", "–"]
        print(f"| {side.name} | {side.size or '–'} | {cells[0]:,.0f} | {cells[1]:.1f} | {' | '.join(seeds)} |")


def _compiled(name: str, folder: Path, names: tuple[str, str], command: tuple[str, ...]) -> Side:
    harness, generator = names
    label = f"{name}, {' '.join(command)}"
    program, target = (folder / f"{label.replace(' ', '_').replace(',', '')}{ending}" for ending in ("", ".o"))
    started = time.perf_counter()
    subprocess.run([*command, "-w", "-c", folder / generator, "-o", target], check=True)
    seconds = time.perf_counter() - started
    subprocess.run([*command, "-w", folder / harness, target, "-lm", "-o", program], check=True)

    def measure() -> list[float]:
        output = subprocess.run([program, "timed"], check=True, capture_output=True, text=True).stdout
        return [float(value) for value in output.split()]

    sizes = (path.stat().st_size / 1e6 for path in (folder / generator, target))
    return Side(label, measure, "{:.1f} MB, {:.1f} MB".format(*sizes) + f", {seconds:.1f} s")


def _onnxruntime(decoder: bytes, latent_dim: int) -> Side:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(decoder, options, providers=["CPUExecutionProvider"])
    z = np.random.default_rng(0).standard_normal((BATCH, latent_dim), np.float32)

    def measure() -> list[float]:
        started = time.perf_counter()
        for _ in range(0, IMAGES, BATCH):
            session.run(None, {"z": z})
        middle = time.perf_counter()
        for _ in range(SINGLES):
            session.run(None, {"z": z[:1]})
        return [IMAGES / (middle - started), 1e6 * (time.perf_counter() - middle) / SINGLES, 0, 0]

    return Side("onnxruntime, decoder", measure)


if __name__ == "__main__":
    main()
