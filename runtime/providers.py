"""Execution providers of onnxruntime, such as OpenVINO, CUDA or CoreML, by name."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.errors import InputError

CPU = "CPUExecutionProvider"
_ENDING = "ExecutionProvider"


def check_providers(providers: object) -> tuple[str, ...]:
    """Full names of the providers that a graph shall run on, the preferred one first.

    providers: names such as "openvino", "cuda" or "CoreMLExecutionProvider", in any case; None means the CPU alone.
    Raises InputError where the installed onnxruntime lacks one.
    """
    if providers is None:
        return (CPU,)
    if isinstance(providers, str) or not isinstance(providers, Sequence) or not providers:
        raise InputError(f"providers should be a list of names such as ['openvino'], but is {providers!r}")
    import onnxruntime

    available: list[str] = onnxruntime.get_available_providers()
    by_name = {each.lower(): each for each in available} | {short_name(each): each for each in available}
    for name in providers:
        if not isinstance(name, str) or name.lower() not in by_name:
            raise InputError(
                f"the installed onnxruntime {onnxruntime.__version__} has no provider {name!r}; it has "
                f"{', '.join(map(short_name, available))}"
            )
    return tuple(dict.fromkeys(by_name[name.lower()] for name in providers))


def short_name(provider: str) -> str:
    """ "OpenVINOExecutionProvider" → "openvino"."""
    return provider.removesuffix(_ENDING).lower()
