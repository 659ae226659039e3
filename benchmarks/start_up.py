"""Start-up cost of the runtime: time and peak memory of a process that imports `runtime` and draws one image.

python benchmarks/start_up.py [BUNDLE] [--rounds 10]
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import click

_PROGRAM = """
import json, resource, sys
from runtime import Sampler
image = Sampler(sys.argv[1]).sample(1)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"peak_mb": peak, "torch": "torch" in sys.modules, "shape": image.shape}))
"""


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path), default=Path("runs/latest/bundle"))
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
def main(bundle: Path, rounds: int) -> None:
    """Print medians over new processes."""
    seconds, reports = [], []
    for _ in range(rounds + 1):  # the first one fills the file cache and is not counted
        started = time.perf_counter()
        output = subprocess.run([sys.executable, "-c", _PROGRAM, str(bundle)], check=True, capture_output=True).stdout
        seconds.append(time.perf_counter() - started)
        reports.append(json.loads(output))
    print(f"import runtime, open a bundle, draw one image; median of {rounds} processes")
    print(f"seconds          {median(seconds[1:]):8.3f}")
    print(f"peak memory, MB  {median(report['peak_mb'] for report in reports[1:]):8.1f}")
    print(f"torch imported   {'yes' if any(report['torch'] for report in reports) else 'no':>8}")


if __name__ == "__main__":
    main()
