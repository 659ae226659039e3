"""What the documents point to is there, for whoever clones the repository."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(path.relative_to(ROOT) for path in ROOT.glob("*.md")) + [
    path.relative_to(ROOT)
    for folder in ("docs", "examples", "web")
    for path in sorted((ROOT / folder).rglob("*.md"))
    if "node_modules" not in path.parts
]


def tracked() -> set[Path]:
    """Every file of the repository, and every folder that holds one."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone of the repository")
    files = {Path(name) for name in listed.stdout.split("\0") if name}
    return files | {folder for file in files for folder in file.parents}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_link_to_a_file_is_to_one_of_the_repository(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)", (ROOT / document).read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    targets = {link: (ROOT / document.parent / link).resolve().relative_to(ROOT.resolve()) for link in local}
    missing = [link for link, target in targets.items() if target not in tracked()]
    assert not missing, f"{document} points to {', '.join(missing)}"
