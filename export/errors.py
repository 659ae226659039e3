"""Exceptions of the exporter. Each message says what is wrong, where, and what to do."""


class ExportError(Exception):
    """Base class of the exceptions that the exporter raises."""


class ModelError(ExportError):
    """A model or graph is not fit for export: it draws random numbers, is in training mode or ignores its input."""


class ParityError(ExportError):
    """An exported graph does not compute what the trained model computes; nothing was published."""


class NamesError(ParityError):
    """First step of the parity check: the names or the number of inputs or outputs differ."""


class ShapesError(ParityError):
    """Second step: an input or output has another shape, or the engine cannot run a batch size."""


class TypesError(ParityError):
    """Third step: an input or output has another element type."""


class ValuesError(ParityError):
    """Last step: an output differs from the reference by more than its tolerance."""
