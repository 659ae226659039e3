"""Check a bundle with the oldest and the newest supported onnxruntime, each in its own virtual environment.

    python tools/check_hosts.py [BUNDLE]

Creates .venv-hosts/<version> with numpy, pillow, click and that onnxruntime, without PyTorch. Runs every ONNX graph of
the bundle there, int8 and float16 variants included, and compares the outputs with the golden values.
"""

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venv-hosts"
# onnxruntime 1.18 was built against numpy 1.
HOSTS = {"1.18": ["onnxruntime==1.18.*", "numpy<2"], "newest": ["onnxruntime", "numpy"]}

PROGRAM = r"""
import sys
import numpy as np
import onnxruntime
from runtime.bundle import Bundle
from runtime.prior import prior_latents

bundle = Bundle.open(sys.argv[1])
golden = dict(np.load(bundle.folder / "golden.npz"))
one = np.array(1, np.float32)
label = (golden["label"],) if "label" in golden else ()  # of a mixture with classes
cases = {
    "decoder": ([golden["latents"]], [golden["decoder_image"]]),
    "encoder": ([golden["encoder_image"]], [golden["encoder_mean"], golden["encoder_log_var"]]),
    "sampler": ([golden["seed"], golden["index"], one, *label], [golden["sampler_image"]]),
    "reconstructor": ([golden["reconstructor_image_in"]], [golden["reconstructor_image_out"]]),
}
latents = prior_latents(bundle.prior(), int(golden["seed"]), golden["index"], golden["latents"].shape[1], *label)
assert latents.tobytes() == golden["latents"].tobytes(), "latents differ"
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
bad = 0
for graph, (inputs, expected) in cases.items():
    ports = bundle.manifest.graphs[graph].inputs
    for file_format, name in bundle.manifest.graphs[graph].files.items():
        if not file_format.startswith("onnx"):
            continue
        session = onnxruntime.InferenceSession(bundle.read(name), options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {port.name: value for port, value in zip(ports, inputs)})
        error = max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(outputs, expected))
        pixels = expected[0].dtype == np.uint8
        passed = file_format != "onnx" or error <= (1 if pixels else 1e-5)
        bad += not passed
        unit = "levels" if pixels else ""
        verdict = "passed" if passed and file_format == "onnx" else "runs" if passed else "FAILED"
        print(f"onnxruntime {onnxruntime.__version__:8} {name:24} {error:10.2g} {unit:7} {verdict}")
sys.exit(bad > 0)
"""


def python_of(host: str) -> Path:
    """The Python interpreter of a host's environment, which is created on the first call."""
    folder = ENVIRONMENTS / host
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(HOSTS[host])} into {folder.relative_to(ROOT)}")
        venv.create(folder, with_pip=True)
        packages = [*HOSTS[host], "pillow", "click"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def main() -> None:
    bundle = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/latest/bundle").resolve()
    failed = False
    for host in HOSTS:
        result = subprocess.run([python_of(host), "-c", PROGRAM, str(bundle)], cwd=ROOT, check=False)
        failed |= result.returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
