"""The one door for the files of a bundle, whether an engine, a page or a check asks for them."""

from __future__ import annotations

from runtime.bundle import Bundle
from runtime.manifest import PRECISIONS, Graph
from runtime.onnx_guard.external_data import refuse_external_data
from runtime.onnx_guard.limits import Work, check_graph


def read_checked(bundle: Bundle, name: str) -> bytes:
    """The content of one file, proven by `Bundle.read`; if it is an ONNX graph, one that vae-export could have written.

    Raises BundleError otherwise.
    """
    for graph in bundle.manifest.graphs.values():
        if name in (graph.files.get(file_format) for file_format in PRECISIONS.values()):
            return read_checked_graph(bundle, name, graph)[0]
    return bundle.read(name)


def read_checked_graph(bundle: Bundle, name: str, description: Graph) -> tuple[bytes, Work]:
    """The content of an ONNX graph of this description, and what it computes for one image. Raises BundleError."""
    content, path = bundle.read(name), bundle.folder / name
    refuse_external_data(content, path)
    return content, check_graph(content, path, bundle.manifest.metadata, description.inputs, description.outputs)
