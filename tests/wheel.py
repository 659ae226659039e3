"""The wheel of this checkout, installed alone: helpers of the tests that try what a user gets."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*command: object, cwd: Path) -> str:
    """Output of a command that must succeed, and does not see this checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def install_wheel(folder: Path, *, with_page: bool = False) -> tuple[Path, Path]:
    """Build the wheel, and install it with only its base dependencies, which needs a package registry.

    with_page: build the latent explorer first, which needs Node; otherwise the wheel holds what was built before, if
    anything was. Returns the wheel, and the folder of the commands.
    """
    with (ROOT / "setup.py").open() as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)  # all builds write to build/lib and read web/dist
        if with_page:
            run("node", ROOT / "web" / "build.mjs", cwd=folder)
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", ROOT, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    commands = folder / "venv" / "bin"
    pip = [commands / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    run(*pip, wheel, cwd=folder)
    return wheel, commands
