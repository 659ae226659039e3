"""Adds the latent explorer to the wheel where `make web` has built it; everything else is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PAGE = Path(__file__).parent / "web" / "dist"


class BuildWithPage(build_py):
    """Copies the built page to `runtime/explorer`, where `runtime.web.find_site` looks for it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # a checkout serves web/dist itself
            return
        target = Path(self.build_lib) / "runtime" / "explorer"
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        if PAGE.is_dir():
            shutil.copytree(PAGE, target)


setup(cmdclass={"build_py": BuildWithPage})
