"""The exceptions of the runtime. Every message is a sentence that says what is wrong and what to do."""

from runtime.text import printable


class VaeRuntimeError(Exception):
    """Base of all errors that the runtime raises on purpose.

    A message may quote what a stranger wrote, such as the name of a node: what a terminal could act on is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class BundleError(VaeRuntimeError):
    """The bundle is missing, damaged, or does not match its own manifest."""


class InputError(VaeRuntimeError, ValueError):
    """An argument or an input array or image cannot be used."""


class OutputError(VaeRuntimeError):
    """A result cannot be written where it was asked for."""


class EngineError(VaeRuntimeError):
    """The engine that was asked for is not installed, does not answer, or gave up."""
