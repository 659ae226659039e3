"""Names of a package that are imported when they are first used, so that `--help` waits for no heavy library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

DISTRIBUTION = "vae-toolchain"


def lazy_attributes(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` (PEP 562) of a package.

    modules: public name → module of the package that defines it. `__version__` is answered for every package.
    """

    def get(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version(DISTRIBUTION)
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return get
