"""The one door for the files of a bundle, whether an engine, a page or a check asks for them."""

from __future__ import annotations

from runtime.bundle import Bundle
from runtime.manifest import PRECISIONS
from runtime.onnx_guard.external_data import refuse_external_data
from runtime.onnx_guard.limits import check_graph


def read_checked(bundle: Bundle, name: str) -> bytes:
    """The content of one file, proven by `Bundle.read`; if it is an ONNX graph, one that vae-export could have written.

    Raises BundleError otherwise.
    """
    content = bundle.read(name)
    path = bundle.folder / name
    for graph in bundle.manifest.graphs.values():
        if name in (graph.files.get(file_format) for file_format in PRECISIONS.values()):
            refuse_external_data(content, path)
            check_graph(content, path, bundle.manifest.metadata, graph.inputs, graph.outputs)
    return content
