"""Noise and prior in Go, Rust, Java and C#: latents to the bit as NumPy's, and known answers that each file checks."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from runtime.noise import standard_normal
from runtime.prior import Prior
from tests.hosts.helpers import ROOT, missing, run

EXAMPLE = ROOT / "examples" / "noise"
TABLE = "normal_table_v1.f32"
# language → what it needs, how it is built, how it runs
LANGUAGES = {
    "Go": (["go"], ["go", "build", "-o", "noise", "noise.go"], ["./noise"]),
    "Rust": (["rustc"], ["rustc", "-O", "--edition", "2021", "noise.rs"], ["./noise"]),
    "Java": (["javac", "java"], ["javac", "-Xlint:all", "-Werror", "Noise.java"], ["java", "-cp", ".", "Noise"]),
    "C#": (["mcs", "mono"], ["mcs", "-warnaserror", "Noise.cs"], ["mono", "Noise.exe"]),
}
SAMPLES = ((0, 0), (7, 5), (2**32 + 1, 2**53 + 1), (2**63 - 1, 2**63 - 1))
LATENT_DIM = 13


@pytest.fixture(scope="module", params=LANGUAGES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with the file of one language, compiled, and the command that runs it there."""
    programs, build, command = LANGUAGES[request.param]
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    folder = tmp_path_factory.mktemp(request.param, numbered=False)
    for name in (build[-1], TABLE):
        shutil.copy(EXAMPLE / name, folder)
    run(*build, cwd=folder)
    return folder, command


@pytest.fixture(scope="module")
def mixture() -> Prior:
    """Nine components of three classes, in 16 slots."""
    random = np.random.default_rng(0)
    shape = 9, LATENT_DIM
    members = np.arange(9) % 3
    return Prior.of_mixture(random.random(9), random.normal(size=shape), random.random(shape) + 0.1, members, "abc")


def printed(built: tuple[Path, list[str]], *arguments: object) -> list[str]:
    folder, command = built
    lines = run(*command, TABLE, *arguments, cwd=folder).splitlines()
    return [line.split()[0] for line in lines]


def bits(latents: np.ndarray) -> list[str]:
    return [f"{word:08x}" for word in latents.view("<u4")]


def test_latents_are_numpys_to_the_bit(built: tuple[Path, list[str]]) -> None:
    for seed, index in SAMPLES:
        assert printed(built, seed, index, LATENT_DIM) == bits(standard_normal(seed, [index], LATENT_DIM)[0])


def test_latents_of_a_mixture_are_numpys_to_the_bit(
    built: tuple[Path, list[str]], mixture: Prior, tmp_path: Path, conformance_table: list[str]
) -> None:
    path = tmp_path / "prior.npz"
    path.write_bytes(mixture.to_npz())
    for (seed, index), label in zip(SAMPLES, (-1, 0, 1, 2), strict=True):
        expected = bits(mixture.latents(seed, [index], label)[0])
        assert printed(built, seed, index, LATENT_DIM, path, label) == expected
    prior = "mixture, with and without a class"
    conformance_table.append(f"| noise and prior in {built[0].name} | {prior} | bit-identical | – | – |")
    for label in (-2, 3):
        with pytest.raises(AssertionError, match=f"there is no class {label}"):
            printed(built, 7, 5, LATENT_DIM, path, label)


def test_a_prior_of_another_model_is_refused(built: tuple[Path, list[str]], mixture: Prior, tmp_path: Path) -> None:
    path = tmp_path / "prior.npz"
    path.write_bytes(mixture.to_npz())
    with pytest.raises(
        AssertionError, match=rf"prior\.npz: its arrays do not fit together, or are not for {LATENT_DIM + 1}"
    ):
        printed(built, 7, 5, LATENT_DIM + 1, path, -1)


@pytest.mark.parametrize("name", ["thresholds", "aliases"])
def test_a_table_that_leads_out_of_the_mixture_is_refused(
    built: tuple[Path, list[str]], mixture: Prior, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "prior.npz"
    wrong = getattr(mixture, name).copy()
    place = np.flatnonzero(mixture.thresholds.ravel() < 65536)[0] if name == "aliases" else 15  # there are 9 components
    wrong.ravel()[place] = 9
    hostile = copy.copy(mixture)
    object.__setattr__(hostile, name, wrong)  # the constructor would refuse it too
    path.write_bytes(hostile.to_npz())
    with pytest.raises(AssertionError, match="do not fit together"):
        printed(built, 7, 5, LATENT_DIM, path, -1)


def test_a_wrong_table_is_noticed(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, command = built
    table = tmp_path / "table.f32"
    content = (EXAMPLE / TABLE).read_bytes()
    table.write_bytes(content[4:] + bytes(4))
    with pytest.raises(AssertionError, match="known answer"):
        run(*command, table, 7, 5, 4, cwd=folder)
    table.write_bytes(b"short")
    with pytest.raises(AssertionError, match=r"should be 262144 bytes but is 5"):
        run(*command, table, 7, 5, 4, cwd=folder)


def test_the_readme_runs_every_language_in_a_folder_of_its_own(mixture_bundle: Path, tmp_path: Path) -> None:
    for program in ("go", "rustc", "java", "mcs", "mono"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    for name in run("git", "ls-files", "-z", "examples/noise").split("\0"):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(mixture_bundle, tmp_path / "runs" / "latest" / "bundle")
    (commands,) = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    output = run("bash", "-euo", "pipefail", "-c", commands.replace(" 32", " 5"), cwd=tmp_path)  # the tests' model
    prior = Prior.from_npz((mixture_bundle / "prior.npz").read_bytes(), "prior.npz", "0123")
    first = bits(prior.latents(7, [5], 3)[0])[0]
    assert sum(line.startswith(first) for line in output.splitlines()) == 4


def test_the_table_is_the_runtimes() -> None:
    assert (EXAMPLE / TABLE).read_bytes() == (ROOT / "runtime" / TABLE).read_bytes()
