"""The noise in Go, Rust, Java and C#: latents to the bit as NumPy's, and known answers that each file checks itself."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from runtime.noise import standard_normal
from tests.hosts.helpers import ROOT, missing, run

EXAMPLE = ROOT / "examples" / "noise"
# language → what it needs, how it is built, how it runs
LANGUAGES = {
    "Go": (["go"], ["go", "build", "-o", "noise", "noise.go"], ["./noise"]),
    "Rust": (["rustc"], ["rustc", "-O", "--edition", "2021", "noise.rs"], ["./noise"]),
    "Java": (["javac", "java"], ["javac", "-Xlint:all", "-Werror", "Noise.java"], ["java", "-cp", ".", "Noise"]),
    "C#": (["mcs", "mono"], ["mcs", "-warnaserror", "Noise.cs"], ["mono", "Noise.exe"]),
}
SAMPLES = ((0, 0), (7, 5), (2**32 + 1, 2**53 + 1), (2**63 - 1, 2**63 - 1))
LATENT_DIM = 13


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(
        shutil.copytree(EXAMPLE, tmp_path / "noise", ignore=shutil.ignore_patterns("noise", "*.exe", "*.class"))
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_latents_are_numpys_to_the_bit(language: str, folder: Path) -> None:
    programs, build, command = LANGUAGES[language]
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    run(*build, cwd=folder)
    for seed, index in SAMPLES:
        lines = run(*command, "normal_table_v1.f32", seed, index, LATENT_DIM, cwd=folder).splitlines()
        expected = standard_normal(seed, [index], LATENT_DIM)[0]
        assert [line.split()[0] for line in lines] == [f"{bits:08x}" for bits in expected.view("<u4")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_table_is_noticed(language: str, folder: Path) -> None:
    programs, build, command = LANGUAGES[language]
    for program in programs:
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    run(*build, cwd=folder)
    table = folder / "normal_table_v1.f32"
    table.write_bytes(table.read_bytes()[4:] + bytes(4))
    with pytest.raises(AssertionError, match="known answer"):
        run(*command, table.name, 7, 5, 4, cwd=folder)
    table.write_bytes(b"short")
    with pytest.raises(AssertionError, match=r"should be 262144 bytes but is 5"):
        run(*command, table.name, 7, 5, 4, cwd=folder)


def test_the_readme_runs_every_language() -> None:
    (commands,) = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    for program in ("go", "rustc", "java", "mcs", "mono"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    output = run("bash", "-euo", "pipefail", "-c", commands)
    first = f"{standard_normal(7, [5], 1).view('<u4')[0, 0]:08x}"
    assert sum(line.startswith(first) for line in output.splitlines()) == 4


def test_the_table_is_the_runtimes() -> None:
    name = "normal_table_v1.f32"
    assert (EXAMPLE / name).read_bytes() == (ROOT / "runtime" / name).read_bytes()
