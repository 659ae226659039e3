"""The progress bar of training, with an estimate of the time to the end."""

from __future__ import annotations

import time
from collections.abc import Callable

from trainer.checkpoint import Checkpoint
from trainer.settings import Settings

_SECONDS_MEASURED = 3.0  # of training, before the time to the end is estimated
_SECONDS_WORTH_SAYING = 20.0


class TrainingBar:
    """One progress bar over all epochs; text is printed above it, and after the first steps the time to the end."""

    def __init__(
        self,
        settings: Settings,
        images: int,
        checkpoint: Checkpoint | None,
        say: Callable[[str], object],
        *,
        shown: bool,
    ) -> None:
        """images: in the training set. checkpoint: the one to resume from. say: prints a piece of text. shown: whether
        to draw the bar, on a terminal or in a notebook; text is printed in either case.
        """
        from tqdm.auto import tqdm

        start = checkpoint.epoch if checkpoint else 0
        self._say = say
        self._left = (settings.epochs - start) * images  # 0 once the time to the end has been estimated
        self._done, self._started = 0, 0.0
        self._bar = tqdm(
            total=settings.epochs * images, initial=start * images, unit=" images", unit_scale=True,
            disable=None if shown else True, leave=False, mininterval=0.2,
        )  # fmt: skip

    def update(self, images: int) -> None:
        """Advance by `images`, those of the steps since the last call."""
        self._bar.update(images)
        if self._left == 0:
            return
        if self._done == 0:
            self._started = time.perf_counter()  # the first step also loads kernels
        elif time.perf_counter() - self._started >= _SECONDS_MEASURED:
            seconds = (time.perf_counter() - self._started) / self._done * (self._left - self._done)
            if seconds >= _SECONDS_WORTH_SAYING:
                self.say(f"about {duration(seconds)} to the end, evaluation not counted")
            self._left = 0
            return
        self._done += images

    def say(self, text: str) -> None:
        """Say `text`, if it is not empty, without tearing the bar."""
        if text:
            with self._bar.external_write_mode():
                self._say(text)

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def duration(seconds: float) -> str:
    """`seconds` as text, in the units that matter: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
