"""What the export raises: one small tree, every message a sentence for whoever must fix it."""


class ExportError(Exception):
    """Base of all errors that the export raises on purpose."""


class ModelError(ExportError):
    """A model or a graph would give other images than its training promised."""


class ParityError(ExportError):
    """An exported graph does not compute what the trained model computes; nothing was published."""


class NamesError(ParityError):
    """First rung: inputs or outputs are not the ones of the contract."""


class ShapesError(ParityError):
    """Second rung: an output has another shape."""


class TypesError(ParityError):
    """Third rung: an output has another element type."""


class ValuesError(ParityError):
    """Last rung: an output differs by more than its limit."""
