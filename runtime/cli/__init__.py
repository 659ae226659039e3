"""The runtime's commands: each parses its options, calls one function, and prints what was written."""

from runtime.cli.bench import bench
from runtime.cli.reconstruct import reconstruct
from runtime.cli.sample import sample
from runtime.cli.verify import verify
from runtime.cli.web import web

__all__ = ["bench", "reconstruct", "sample", "verify", "web"]
