"""Files, commands, options and make targets named in the documents exist, and the README stays short."""

import importlib
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parent.parent
MOST_README_LINES = 150
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
DOCUMENTS = sorted(path.relative_to(ROOT) for path in ROOT.glob("*.md")) + [
    path.relative_to(ROOT)
    for folder in ("docs", "examples", "web")
    for path in sorted((ROOT / folder).rglob("*.md"))
    if "node_modules" not in path.parts
]


def tracked() -> set[Path]:
    """Every file of the repository and every folder that contains one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone of the repository")
    files = {Path(name) for name in listed.stdout.split("\0") if name}
    return files | {folder for file in files for folder in file.parents}


def text_of(document: Path) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def command_of(script: str) -> click.Command:
    """The click command that a console script runs."""
    module, name = SCRIPTS[script].split(":")
    command = getattr(importlib.import_module(module), name)
    assert isinstance(command, click.Command)
    return command


def shell_commands(document: Path) -> list[list[str]]:
    """The calls of this project's commands in shell blocks, with their arguments."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", text_of(document), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line):
                words = [word for word in shlex.split(part, comments=True) if not re.match(r"[A-Z_]+=", word)]
                if words and Path(words[0]).name.startswith("vae-"):
                    found.append([Path(words[0]).name, *words[1:]])
    return found


def test_the_readme_is_one_screen_and_a_map() -> None:
    assert len(text_of(Path("README.md")).splitlines()) <= MOST_README_LINES


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_and_option_in_a_shell_block_exists(document: Path) -> None:
    for script, *arguments in shell_commands(document):
        assert script in SCRIPTS, f"{document} runs {script}"
        parameters = command_of(script).params
        options = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {argument.split("=")[0] for argument in arguments if argument.startswith("--")}
        assert given <= options | {"--help"}, f"{document} runs {script} with {', '.join(given - options)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_command_in_the_text_exists(document: Path) -> None:
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text_of(document), flags=re.DOTALL))
    named = {word for code in inline for word in re.findall(r"^vae-[a-z]+(?= |$)", code)} - {"vae-toolchain"}
    assert named <= set(SCRIPTS), f"{document} names {', '.join(named - set(SCRIPTS))}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_make_target_in_the_documents_exists(document: Path) -> None:
    code = re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", text_of(document), re.DOTALL)
    start = re.compile(r"^(?:[A-Z_]+=\S+ )*make ([a-z-]+)", re.MULTILINE)
    named = {target for block, inline in code for target in start.findall(block or inline)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets, f"{document} names make {', '.join(named - targets)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_source_file_in_the_documents_exists(document: Path) -> None:
    """Paths in backticks exist in the repository, so that documents are updated when files move."""
    paths = re.findall(r"`((?:benchmarks|examples|export|runtime|tests|tools|trainer)/[\w./-]+)`", text_of(document))
    missing = [path for path in paths if Path(path) not in tracked()]
    assert not missing, f"{document} names {', '.join(missing)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_to_a_file_is_to_one_of_the_repository(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)", (ROOT / document).read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    targets = {link: (ROOT / document.parent / link).resolve().relative_to(ROOT.resolve()) for link in local}
    missing = [link for link, target in targets.items() if target not in tracked()]
    assert not missing, f"{document} points to {', '.join(missing)}"
