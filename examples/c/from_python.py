"""The shared library from Python, without any package: python3 from_python.py SEED INDEX PICTURE."""

import ctypes
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Draw one picture into a PGM (gray) or PPM (colour) file."""
    seed, index, picture = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    sizes = dict(re.findall(r"#define (VAE_\w+) (\d+)", (HERE / "generator.h").read_text()))
    channels, height, width = (int(sizes[f"VAE_{name}"]) for name in ("CHANNELS", "HEIGHT", "WIDTH"))
    vae = ctypes.CDLL(str(HERE / "libgenerator.so"))
    vae.vae_sample.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_float, ctypes.c_char_p]
    pixels = ctypes.create_string_buffer(channels * height * width)
    code = vae.vae_self_test() or vae.vae_sample(seed, index, -1, 1.0, pixels)
    if code:
        sys.exit(f"error {code}, see generator.h")
    picture.write_bytes(b"P%d\n%d %d\n255\n" % (5 if channels == 1 else 6, width, height) + pixels.raw)


if __name__ == "__main__":
    main()
