"""CSV tables: the history of a run and the results of a sweep are written by the same function."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime.files.atomic import write_atomically


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `rows`, at least one, all with the keys of the first, under a header line; atomic, with LF line ends.

    Raises OutputError if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue().encode())
