"""Script that tests start with torchrun: trains several runs, one after the other.

    torchrun … torchrun_losses.py JOB RESULT

JOB: settings and data, saved with `torch.save`. RESULT: a JSON file, written by rank 0, with the history of each run
and whether the final weights are bit-identical on all ranks.
"""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from trainer.training.execution import Execution
from trainer.training.loop import fit
from trainer.training.run_folder import Run


def main() -> None:
    """Train the runs of JOB and write RESULT."""
    job, result = map(Path, sys.argv[1:])
    runs, data = torch.load(job, weights_only=False)
    execution = Execution.choose(next(iter(runs.values())), device="cpu")
    team = execution.team
    found = {}
    for name, settings in runs.items():
        folder = result.with_name(f"{team.world_size}-{name}")
        *_, last = fit(settings, data, Run(folder), execution=execution)
        first: dict[str, torch.Tensor] = team.from_first(partial(dict, last.model_state))
        differing = sum(not torch.equal(tensor, first[key]) for key, tensor in last.model_state.items())
        found[name] = {
            "history": [asdict(metrics) for metrics in last.history],
            "differing": team.total(torch.tensor(differing)).item(),
        }
    if team.leads:
        result.write_text(json.dumps(found))
    team.leave()
    os._exit(0)  # see `Team.leave`


if __name__ == "__main__":
    main()
