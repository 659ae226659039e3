"""Script that tests start with torchrun: `python -m trainer`, but rank 1 is killed in the middle of epoch 3."""

import os
import signal
from dataclasses import replace
from typing import Any

import trainer.training.loop
from trainer.__main__ import main
from trainer.training.epoch import train_epoch


def train_and_die(state: Any, images: Any, settings: Any, epoch: int, *arguments: Any) -> Any:
    """`train_epoch` with a step that kills the process."""

    def step(*batch: Any) -> None:
        state.step(*batch)
        if epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    step.totals, step.at_once = state.step.totals, 1  # type: ignore[attr-defined]
    return train_epoch(replace(state, step=step), images, settings, epoch, *arguments)


if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        trainer.training.loop.train_epoch = train_and_die  # type: ignore[attr-defined,assignment]
    main()
