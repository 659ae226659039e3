"""What the export raises: one small tree, every message a sentence for whoever must fix it."""


class ExportError(Exception):
    """Base of all errors that the export raises on purpose."""


class ParityError(ExportError):
    """An exported graph does not compute what the trained model computes; nothing was published."""
