"""What an ONNX graph of a bundle may be, decided before an engine sees it: operators, sizes, and where weights lie."""
