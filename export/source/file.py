"""A user's own Python file as a source of an export: `vae-export --module FILE.py:FUNCTION`.

This is the one place where code that is not ours runs, and only because the user names the file. The weights beside it
are still read without running code.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from export.errors import ExportError
from export.source.load import read_weights
from export.source.source import Source

_MOST_NAMES = 4  # listed of tensors that do not match


def source_of_file(
    module: str,
    *,
    weights: Path | None,
    latent_shape: tuple[int, ...],
    image_shape: tuple[int, int, int],
    value_range: tuple[float, float],
    images: npt.NDArray[np.uint8] | None,
    prior: str = "normal",
    labels: npt.NDArray[Any] | None = None,
) -> Source:
    """Import a file, call the function that builds the model, load weights into it, and make a source of it.

    module: FILE.py:FUNCTION. The function takes nothing and gives a torch.nn.Module with the method
    `decode(z) → image` and, where there is an encoder, `encode(image) → (mean, log_var)`. weights: a state dict, .pt,
    .pth or .safetensors; None where the function loads them itself. The rest is as for `Source.of_modules`.

    Raises ExportError where the file cannot be imported, has no such function, or the weights do not match, naming the
    tensors; and what `Source.of_modules` raises.
    """
    built = _build(module)
    if weights is not None:
        _load(built, weights)
    built.eval()
    has_encoder = callable(getattr(built, "encode", None))
    return Source.of_modules(
        decoder=built,
        encoder=built if has_encoder else None,
        latent_shape=latent_shape,
        image_shape=image_shape,
        value_range=value_range,
        images=images,
        decode=lambda model, z: model.decode(z),
        encode=(lambda model, image: model.encode(image)) if has_encoder else None,
        prior=prior,
        labels=labels,
    )


def _build(module: str) -> nn.Module:
    file, _, function = module.rpartition(":")
    path = Path(file)
    if not file or not function.isidentifier():
        raise ExportError(f"--module should be FILE.py:FUNCTION, but is {module!r}")
    if not path.is_file():
        raise ExportError(f"{path}: no such file; --module should name a Python file and a function in it")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ExportError(f"{path}: is no Python file; its name should end in .py")
    imported = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))  # it may import files beside it
    try:
        spec.loader.exec_module(imported)
        build = getattr(imported, function, None)
        if not callable(build):
            raise ExportError(f"{path}: has no function {function}")
        built = build()
    except ExportError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ExportError(f"{module}: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    if not isinstance(built, nn.Module):
        raise ExportError(f"{module}: should give a torch.nn.Module but gives a {type(built).__name__}")
    if not callable(getattr(built, "decode", None)):
        raise ExportError(f"{module}: gives a {type(built).__name__}, which has no method decode(z)")
    return built


def _load(model: nn.Module, path: Path) -> None:
    """Load a state dict that has exactly the tensors of the model."""
    found = read_weights(path)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    differences = [
        *(f"{name} is missing" for name in expected if name not in found),
        *(f"{name} is not expected" for name in found if name not in expected),
        *(
            f"{name} should be {shape} but is {_shape(found[name])}"
            for name, shape in expected.items()
            if name in found and _shape(found[name]) != shape
        ),
    ]
    if differences:
        more = f", and {len(differences) - _MOST_NAMES} more" if len(differences) > _MOST_NAMES else ""
        raise ExportError(f"{path}: does not fit the module: {', '.join(differences[:_MOST_NAMES])}{more}")
    model.load_state_dict(dict(found))


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
