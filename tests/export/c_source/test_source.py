"""What the C source promises beside its bits: bad arguments, bounds, stack, warnings, refused compilers."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.c_library import Library, find_compiler
from runtime.errors import EngineError
from tests.export.c_source.conftest import CONFIGS, FOREIGN, Written
from tests.hosts.helpers import missing

HERE = Path(__file__).parent
COMPILERS = ("gcc", "clang")


def compile_with(compiler: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which(compiler) is None:
        missing(f"{compiler} is not installed")
    return subprocess.run([compiler, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("name", [*CONFIGS, FOREIGN])
def test_random_and_wrong_arguments_end_in_a_code_and_never_out_of_bounds(
    compiler: str, name: str, written: Callable[[str], Written], tmp_path: Path
) -> None:
    written(name).save(tmp_path)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra", "-Werror"]
    program = tmp_path / "fuzz"
    built = compile_with(compiler, *flags, "-I", tmp_path, HERE / "fuzz.c", tmp_path / "generator.c", "-o", program)
    if "cannot find" in built.stderr and "libclang_rt" in built.stderr:
        missing("clang's sanitizers are not installed (Debian: libclang-rt-14-dev)")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, f"fuzz.c, line {done.returncode}\n{done.stderr}"


@pytest.mark.parametrize("name", [*CONFIGS, FOREIGN])
def test_no_more_stack_than_the_header_says(name: str, written: Callable[[str], Written], tmp_path: Path) -> None:
    written(name).save(tmp_path)
    program = tmp_path / "stack"
    files = [HERE / "stack.c", tmp_path / "generator.c"]
    built = compile_with("gcc", "-O2", "-pthread", "-I", tmp_path, *files, "-o", program)
    assert built.returncode == 0, built.stderr
    assert subprocess.run([program]).returncode == 0


@pytest.mark.parametrize("compiler", COMPILERS)
def test_no_library_and_no_writable_memory(compiler: str, written: Callable[[str], Written], tmp_path: Path) -> None:
    written("colour conv").save(tmp_path)
    source, target = tmp_path / "generator.c", tmp_path / "generator.o"
    built = compile_with(
        compiler, "-O2", "-ffreestanding", "-nostdinc", *_own_headers(compiler), "-c", source, "-o", target
    )
    assert built.returncode == 0, built.stderr
    symbols = subprocess.run(["nm", target], capture_output=True, text=True, check=True).stdout
    kinds = {line.split()[-1]: line.split()[-2] for line in symbols.splitlines()}
    # The standard lets a freestanding compiler call these four; whoever links without a library supplies them.
    assert {name for name, kind in kinds.items() if kind == "U"} <= {"memcpy", "memmove", "memset", "memcmp"}
    assert not {name for name, kind in kinds.items() if kind in "dDbBC"}
    public = {name for name, kind in kinds.items() if kind == "T"}
    assert public == set(re.findall(r"^int (vae_\w+)\(", (tmp_path / "generator.h").read_text(), re.MULTILINE))


def _own_headers(compiler: str) -> list[str]:
    return ["-isystem", compile_with(compiler, "-print-file-name=include").stdout.strip()]


@pytest.mark.parametrize("name", CONFIGS)
def test_without_the_encoder_its_weights_are_gone(name: str, written: Callable[[str], Written], tmp_path: Path) -> None:
    written(name).save(tmp_path)
    (tmp_path / "main.c").write_text('#include "generator.h"\nint main(void) { return vae_self_test(); }\n')
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-DVAE_HAS_ENCODER=0"]
    built = compile_with("gcc", *flags, tmp_path / "main.c", tmp_path / "generator.c", "-o", tmp_path / "main")
    assert built.returncode == 0, built.stderr
    assert subprocess.run([tmp_path / "main"]).returncode == 0
    symbols = subprocess.run(["nm", tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert "vae_decoder_0_weight" in symbols
    assert "encode" not in symbols
    assert "vae_reconstruct" not in symbols


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flag", ["-ffast-math", "-Ofast", "-ffinite-math-only"])
def test_fast_math_is_refused_in_one_sentence(
    compiler: str, flag: str, written: Callable[[str], Written], tmp_path: Path
) -> None:
    written("mlp").save(tmp_path)
    built = compile_with(compiler, flag, "-c", tmp_path / "generator.c", "-o", tmp_path / "generator.o")
    assert built.returncode != 0
    assert "generator.c gives the same image everywhere only in IEEE arithmetic" in built.stderr


def test_x87_arithmetic_is_refused(written: Callable[[str], Written], tmp_path: Path) -> None:
    written("mlp").save(tmp_path)
    flags = ["-m32", "-march=i386", "-mfpmath=387", "-ffreestanding"]
    built = compile_with("gcc", *flags, "-c", tmp_path / "generator.c", "-o", tmp_path / "generator.o")
    assert "generator.c needs float arithmetic in float" in built.stderr


def test_the_self_test_notices_fused_operations_and_changed_weights(
    written: Callable[[str], Written], tmp_path: Path
) -> None:
    files = written("colour conv").files
    compiler = find_compiler()
    if compiler is None:
        missing("cc is not installed")
    Library(files, compiler)
    text = files["generator.c"].decode()
    unguarded = text.replace('#pragma GCC optimize("fp-contract=off")', "").replace("#pragma STDC FP_CONTRACT OFF", "")
    fused = {**files, "generator.c": unguarded.encode()}
    with pytest.raises(EngineError, match="vae_self_test returns -10"):
        Library(fused, compiler, ("-O2", "-march=x86-64-v3", "-ffp-contract=fast", "-shared", "-fPIC"))
    at = text.index("vae_encoder_0_bias = {{\n") + len("vae_encoder_0_bias = {{\n0x")
    changed = text[:at] + ("3" if text[at] != "3" else "b") + text[at + 1 :]
    with pytest.raises(EngineError, match="vae_self_test returns -14"):
        Library({**files, "generator.c": changed.encode()}, compiler)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the control register of SSE")
@pytest.mark.parametrize("register", ["0x9fc0", "0x7f80"], ids=["flushes subnormal numbers", "rounds towards zero"])
def test_the_self_test_notices_a_thread_in_another_mode(
    register: str, written: Callable[[str], Written], tmp_path: Path
) -> None:
    written("mlp").save(tmp_path)
    (tmp_path / "main.c").write_text(
        f'#include "generator.h"\nint main(void) {{ __builtin_ia32_ldmxcsr({register}); return -vae_self_test(); }}\n'
    )
    built = compile_with("gcc", "-O2", tmp_path / "main.c", tmp_path / "generator.c", "-o", tmp_path / "main")
    assert built.returncode == 0, built.stderr
    assert subprocess.run([tmp_path / "main"]).returncode == 10


@pytest.mark.skipif(platform.machine() != "x86_64", reason="asks for the fused operations of x86")
def test_the_self_test_notices_a_clang_that_fuses_in_spite_of_the_file(
    written: Callable[[str], Written], tmp_path: Path
) -> None:
    if shutil.which("clang") is None:
        missing("clang is not installed")
    with pytest.raises(EngineError, match="vae_self_test returns -10"):
        Library(
            written("mlp").files,
            ("clang",),
            ("-O2", "-march=x86-64-v3", "-ffp-contract=fast", "-shared", "-fPIC"),
        )


def test_as_cpp_the_header_links(written: Callable[[str], Written], tmp_path: Path) -> None:
    written("mlp").save(tmp_path)
    (tmp_path / "main.cpp").write_text('#include "generator.h"\nint main() { return vae_self_test(); }\n')
    assert compile_with("gcc", "-c", tmp_path / "generator.c", "-o", tmp_path / "generator.o").returncode == 0
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    built = compile_with("g++", *flags, tmp_path / "main.cpp", tmp_path / "generator.o", "-o", tmp_path / "main")
    assert built.returncode == 0, built.stderr
    assert subprocess.run([tmp_path / "main"]).returncode == 0
