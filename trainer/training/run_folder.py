"""The folder of a run, `runs/<name>/`: checkpoints, history and pictures. `runs/latest` links to the newest run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.errors import OutputError
from runtime.files.atomic import remove_unfinished, remove_unfinished_in, write_atomically
from runtime.files.owner import lock_beside, lock_inside, owning, owning_for_a_moment
from trainer.checkpoint import EpochMetrics
from trainer.csv_file import write_csv
from trainer.errors import SettingsError

HELD_OUT = "held_out.txt"
_owned: set[Path] = set()  # folders of runs that this process has locked


@dataclass(frozen=True)
class Run:
    """The files of one run."""

    folder: Path

    @classmethod
    def create(cls, parent: str | Path, name: str | None, default_name: str) -> Run:
        """Create a folder under `parent` and link `latest` to it.

        name: must not exist yet, or be empty, as a command that is killed at its start leaves it; None means
        `default_name` with the first free number. Raises SettingsError if the name is taken or is not a plain
        folder name, OutputError if the folder cannot be written.
        """
        if name is not None and (Path(name).name != name or name in ("", "latest")):
            raise SettingsError(f"the name of a run should be a plain folder name other than latest but is {name!r}")
        try:
            parent = Path(parent)
            parent.mkdir(parents=True, exist_ok=True)
            latest = parent / "latest"
            if latest.exists() and not latest.is_symlink():
                raise SettingsError(
                    f"{latest}: is no link of vae-train, so it stays; move it, or choose another --runs"
                )
            if name is None:
                folder = _make_numbered(parent, default_name)
            else:
                folder = parent / name
                _make_or_take(folder)
            with owning_for_a_moment(latest, lock_beside(latest)):
                _point(latest, folder)
        except OSError as error:
            raise OutputError(f"cannot write to {parent}: {error.strerror or error}") from error
        return cls(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open an existing run to resume it. Raises SettingsError if `folder` is not a run."""
        folder = Path(folder)
        if folder.is_symlink():
            folder = folder.parent / folder.readlink()
        run = cls(folder)
        if not run.config.is_file():
            raise SettingsError(f"{folder}: is not a run folder, it has no {run.config.name}")
        return run

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep other processes from writing to this run; removes temporary files left by a killed process.

        This process may enter it again. Raises OutputError, naming the holder, if another process has it.
        """
        key = self.folder.resolve()
        if key in _owned:
            yield
            return
        with owning(self.folder, lock_inside(self.folder)):
            _owned.add(key)
            try:
                for path in (self.last, self.best, self.config, *self.history, self.preview, self.arrays):
                    remove_unfinished(path)
                for folder in (self.pictures, self.folder / "test_images"):
                    remove_unfinished_in(folder)
                yield
            finally:
                _owned.remove(key)

    @property
    def config(self) -> Path:
        """The options of the run."""
        return self.folder / "config.toml"

    @property
    def history(self) -> tuple[Path, Path]:
        """The history as a table and as JSON lines."""
        return self.folder / "history.csv", self.folder / "history.jsonl"

    @property
    def last(self) -> Path:
        """The checkpoint of the newest epoch."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint of the epoch with the lowest test loss."""
        return self.folder / "best.pt"

    @property
    def pictures(self) -> Path:
        """Plots and sample images."""
        return self.folder / "pictures"

    @property
    def preview(self) -> Path:
        """Test images, their reconstructions and samples after the newest epoch."""
        return self.folder / "preview.png"

    @property
    def arrays(self) -> Path:
        """The data set of a run that was trained on arrays; others name their source in `config`."""
        return self.folder / "data.npz"

    @property
    def held_out(self) -> Path:
        """Names of the files that were held out for testing, where the data has no test split of its own."""
        return self.folder / HELD_OUT

    def write_history(self, history: Sequence[EpochMetrics]) -> None:
        """Write `history.csv`, one row per epoch, and `history.jsonl`, which adds the KL of each latent dimension."""
        table, lines = self.history
        rows = [
            {key: value for key, value in asdict(metrics).items() if not isinstance(value, tuple)}
            for metrics in history
        ]
        write_csv(
            table,
            [
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                for row in rows
            ],
        )
        write_atomically(lines, "".join(json.dumps(asdict(metrics)) + "\n" for metrics in history).encode())


def _make_numbered(parent: Path, default_name: str) -> Path:
    number = 1
    while True:
        folder = parent / f"{default_name}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _make_or_take(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir()):
            raise SettingsError(f"{folder} already exists; choose another --name or remove it") from None


def _point(link: Path, folder: Path) -> None:
    """Make `link` a symbolic link to its sibling `folder`; atomic, so `link` is never missing."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)  # left by a killed process
    temporary.symlink_to(folder.name)
    temporary.replace(link)
