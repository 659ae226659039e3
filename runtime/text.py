"""Text from elsewhere (names, metadata, an engine's messages) made safe to show on a terminal."""

import textwrap

_MOST = 2000  # characters of a message
_COLUMNS = 80


def printable(text: str, *, keep: str = "") -> str:
    """`text` with everything that a terminal could act on written as an escape, and its middle left out if it is long.

    That is control characters, line breaks, marks that turn the direction of writing, invisible characters and halves
    of surrogate pairs. keep: characters that stay as they are.
    """
    if len(text) > _MOST:
        text = f"{text[: _MOST // 2]} … {text[-_MOST // 2 :]}"
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def wrapped(text: str, indent: int = 8) -> str:
    """`text` in lines of at most 80 columns, all but the first indented; a path that is longer stays whole."""
    return textwrap.fill(text, _COLUMNS, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
