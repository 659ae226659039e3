"""Graphs that are small and cost much, each with the right hash: refused from the file alone, before an engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle import Bundle
from runtime.errors import BundleError
from runtime.onnx_guard.graph import read_graph
from runtime.onnx_guard.limits import check_graph
from runtime.onnx_guard.shapes import OPERATORS, infer_sizes
from runtime.session import GraphSession
from tests.fuzzing import contained, fuzz, numbers
from tests.runtime.test_hostile import relist

LATENTS, SIDE = 5, 12  # of the bundle of the tests

Body = Callable[[], tuple[list[onnx.NodeProto], list[TensorProto]]]


def constant(name: str, values: object, dtype: type = np.int64) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), name)


def attack(body: Body, bundle: Path) -> bytes:
    """A decoder whose image is a product with the last node's `big`, with the metadata of the real one."""
    nodes, constants = body()
    model = onnx.load_from_string((bundle / "decoder.onnx").read_bytes())
    graph = model.graph
    (sigmoid,) = (node for node in graph.node if "image" in node.output)
    sigmoid.output[0] = "decoded"
    graph.node.extend(nodes)
    graph.node.append(helper.make_node("ReduceMax", ["big"], ["one"], keepdims=0))
    graph.node.append(helper.make_node("Mul", ["decoded", "one"], ["image"]))
    graph.initializer.extend(constants)
    return model.SerializeToString()


def filled(*shape: int) -> Body:
    return lambda: ([helper.make_node("ConstantOfShape", ["shape"], ["big"])], [constant("shape", shape)])


def endless_loop() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    truth = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [])
    inner = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [count, truth, value],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
        ],
    )
    return (
        [helper.make_node("Loop", ["", "yes", "start"], ["big"], body=inner)],
        [constant("yes", True, np.bool_), constant("start", 1.0, np.float32)],
    )


def outer_sum() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    wide = np.ones((1, 20_000), np.float32)
    return [helper.make_node("Add", ["a", "b"], ["big"])], [
        numpy_helper.from_array(wide, "a"),
        numpy_helper.from_array(wide.T, "b"),
    ]


def batch_by_batch() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [
        helper.make_node("Transpose", ["z"], ["turned"]),
        helper.make_node("MatMul", ["z", "turned"], ["big"]),
    ], []


def much_of_each_image() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("Tile", ["z", "times"], ["big"])], [constant("times", [1, 10**8])]


def upscaled() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("Resize", ["decoded", "", "scales"], ["big"])], [
        constant("scales", [1, 1, 3000, 3000], np.float32)
    ]


def padded() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("Pad", ["decoded", "pads"], ["big"])], [
        constant("pads", [0, 0, 0, 0, 0, 0, 40_000, 40_000])
    ]


def transposed_convolution() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("ConvTranspose", ["decoded", "w"], ["big"], strides=[5000, 5000])], [
        constant("w", np.ones((1, 1, 2, 2)), np.float32)
    ]


def transposed_convolution_that_is_cropped() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Innocent sizes and multiplications, and a gigabyte in between."""
    return [
        helper.make_node("Tile", ["z", "times"], ["row"]),
        helper.make_node("Reshape", ["row", "plane"], ["x"]),
        helper.make_node("ConvTranspose", ["x", "w"], ["big"], pads=[31, 31, 31, 31]),
    ], [
        constant("times", [1, 12_800]),
        constant("plane", [-1, 1, 250, 256]),
        constant("w", np.ones((1, 1, 64, 64)), np.float32),
    ]


def einsum_over_the_batch() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("Einsum", ["z", "z"], ["big"], equation="na,ma->nm")], []


def einsum_that_multiplies_much() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    letters = "abcdefghijkl"
    nodes = [
        helper.make_node("Tile", ["z", "times"], ["row"]),
        helper.make_node("Reshape", ["row", "sides"], ["x"]),
        helper.make_node("Einsum", ["x", "x"], ["big"], equation=f"n{letters},n{letters.upper()}->n"),
    ]
    return nodes, [constant("times", [1, 13_107]), constant("sides", [-1, 5, 3, 17, 257, *[1] * 8])]


def counted() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [
        helper.make_node("Range", ["zero", "many", "one_more"], ["numbers"]),
        helper.make_node("Cast", ["numbers"], ["big"], to=TensorProto.FLOAT),
    ], [constant("zero", 0), constant("many", 10**9), constant("one_more", 1)]


def many_products() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Every value is of an innocent size, and 60 products of each image take 600 million multiplications."""
    nodes = [
        helper.make_node("Tile", ["z", "times"], ["row"]),
        helper.make_node("Reshape", ["row", "square"], ["s0"]),
        *(helper.make_node("MatMul", [f"s{i}", f"s{i}"], [f"s{i + 1}"]) for i in range(60)),
        helper.make_node("Identity", ["s60"], ["big"]),
    ]
    return nodes, [constant("times", [1, 9245]), constant("square", [-1, 215, 215])]


def many_nodes() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    nodes = [helper.make_node("Identity", ["z"], ["n0"])]
    nodes += [helper.make_node("Relu", [f"n{i}"], [f"n{i + 1}"]) for i in range(9000)]
    return [*nodes, helper.make_node("Identity", ["n9000"], ["big"])], []


def unknown_operator() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("RandomNormal", [], ["big"], shape=[10**9])], []


def own_domain() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    return [helper.make_node("Gelu", ["z"], ["big"], domain="com.microsoft")], []


def claimed() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    tensor = constant("big", [1.0], np.float32)
    tensor.dims[:] = [2**40]
    return [], [tensor]


def computed_size() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """A size that depends on what the graph computes cannot be known from the file."""
    return [
        helper.make_node("ReduceMax", ["z"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["size"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["size", "first"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
    ], [constant("first", [0])]


ATTACKS: list[tuple[Body, str]] = [
    (filled(900_000_000), "bytes of constants"),
    (filled(30_000, 30_000), "bytes of constants"),
    (filled(-1), "of the shape"),
    (filled(2**62, 2**62), "bytes of constants"),
    (endless_loop, "an attribute holds a graph"),
    (outer_sum, "bytes of constants"),
    (batch_by_batch, "grow faster than the batch"),
    (much_of_each_image, "a value of"),
    (upscaled, "a value of"),
    (padded, "a value of"),
    (transposed_convolution, "a value of"),
    (transposed_convolution_that_is_cropped, "works on 262,144,000 numbers"),
    (einsum_over_the_batch, "grow faster than the batch"),
    (einsum_that_multiplies_much, "multiplications"),
    (counted, "bytes of constants"),
    (many_products, "multiplications"),
    (many_nodes, "nodes"),
    (unknown_operator, "'RandomNormal'"),
    (own_domain, "com.microsoft"),
    (claimed, "claims the shape"),
    (computed_size, "not fixed by the file"),
]


@pytest.mark.parametrize(("body", "message"), ATTACKS, ids=[getattr(body, "__name__", "") for body, _ in ATTACKS])
def test_a_small_graph_that_costs_much_is_refused_before_an_engine_sees_it(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, body: Body, message: str
) -> None:
    relist(bundle, "decoder.onnx", attack(body, bundle))
    monkeypatch.setattr("runtime.session.open_session", lambda *arguments, **options: pytest.fail("opened"))
    with pytest.raises(BundleError, match=message):
        GraphSession(Bundle.open(bundle), "decoder")


def test_functions_that_double_twenty_five_times_are_refused(bundle: Path) -> None:
    model = onnx.load_from_string((bundle / "decoder.onnx").read_bytes())
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    for level in range(25):
        inner = [helper.make_node(f"f{level + 1}", ["x"], ["a"], domain="own") for _ in range(2)]
        inner[1].output[0] = "b"
        model.functions.append(helper.make_function("own", f"f{level}", ["x"], ["b"], inner, opsets))
    relist(bundle, "decoder.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match="functions of its own"):
        GraphSession(Bundle.open(bundle), "decoder")


def test_what_an_attack_is_built_from_is_accepted_when_it_is_small(bundle: Path) -> None:
    """Otherwise the attacks could be refused for another reason than their cost."""
    relist(bundle, "decoder.onnx", attack(filled(3, 3), bundle))
    GraphSession(Bundle.open(bundle), "decoder")


def test_the_texts_of_a_graph_cannot_reach_the_terminal(bundle: Path) -> None:
    for name in ("\x1b[31mred", "\x1b]0;title\x07", "a\nok  everything is fine", "\u202eright to left"):
        model = onnx.load_from_string((bundle / "decoder.onnx").read_bytes())
        model.graph.node[0].op_type = name
        relist(bundle, "decoder.onnx", model.SerializeToString())
        with pytest.raises(BundleError) as refusal:
            GraphSession(Bundle.open(bundle), "decoder")
        assert str(refusal.value).isprintable()


def test_sizes_are_those_that_onnxruntime_computes(bundle: Path) -> None:
    """A second derivation: every value of every graph, declared as an output and run."""
    import onnxruntime

    opened = Bundle.open(bundle)
    for name, description in opened.manifest.graphs.items():
        model = onnx.load_from_string(opened.read(description.files["onnx"]))
        inputs = {
            port.name: tuple(3 if size == "N" else int(size) for size in port.shape) for port in description.inputs
        }
        sizes = infer_sizes(read_graph(model.SerializeToString()), inputs)
        del model.graph.output[:]
        made = [output for node in model.graph.node for output in node.output]
        model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in made)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        fed = {port.name: np.zeros(inputs[port.name], port.dtype) for port in description.inputs}
        found = dict(zip(made, session.run(made, fed), strict=True))
        expected = [sum(found[output].size for output in node.output) for node in model.graph.node]
        assert sizes.elements == expected, name


def test_every_operator_of_the_list_has_a_name_that_onnx_knows() -> None:
    assert all(onnx.defs.has(operator) for operator in OPERATORS)


def a_graph_within(data: st.DataObject) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    nodes = [helper.make_node(data.draw(st.sampled_from(["Identity", "Relu", "Loop", "If"])), ["z"], ["inner"])]
    return helper.make_graph(nodes, "g", [], [value])


def mutate_node(data: st.DataObject, graph: onnx.GraphProto) -> None:
    """Another operator, input or output; a node twice, or gone."""
    node = data.draw(st.sampled_from(list(graph.node)))
    values = [name for other in graph.node for name in (*other.input, *other.output)] + ["", "nowhere"]
    match data.draw(st.integers(0, 5)):
        case 0:
            node.op_type = data.draw(st.sampled_from([*OPERATORS, "Loop", "If", "Scan", "Einsum"]))
        case 1 if node.input:
            node.input[data.draw(st.integers(0, len(node.input) - 1))] = data.draw(st.sampled_from(values))
        case 2 if node.output:
            node.output[0] = data.draw(st.sampled_from(values))
        case 3:
            node.input.append(data.draw(st.sampled_from(values)))
        case 4:
            copy = graph.node.add()
            copy.CopyFrom(node)
        case _:
            graph.node.remove(node)


def mutate_attribute(data: st.DataObject, graph: onnx.GraphProto) -> None:
    """Another number, another attribute, or one that holds a text, a tensor or a graph."""
    node = data.draw(st.sampled_from(list(graph.node)))
    match data.draw(st.integers(0, 4)):
        case 0 if node.attribute:
            attribute = data.draw(st.sampled_from(list(node.attribute)))
            attribute.i = data.draw(numbers)
            for i in range(len(attribute.ints)):
                attribute.ints[i] = data.draw(numbers)
        case 1:
            names = st.sampled_from(["axis", "axes", "perm", "group", "strides", "dilations", "pads", "to", "keepdims"])
            more = data.draw(st.lists(numbers, min_size=1, max_size=4))
            node.attribute.append(helper.make_attribute(data.draw(names), more))
        case 2:
            held = [
                a_graph_within(data),
                [a_graph_within(data)],
                constant("c", [1.0], np.float32),
                "text",
                [0.5, -1e38],
            ]
            name = data.draw(st.sampled_from(["body", "then_branch", "value", "equation", "mode"]))
            node.attribute.append(helper.make_attribute(name, data.draw(st.sampled_from(held))))
        case 3 if node.attribute:
            data.draw(st.sampled_from(list(node.attribute))).type = data.draw(st.integers(0, 14))
        case _:
            del node.attribute[:]


def mutate_einsum(data: st.DataObject, graph: onnx.GraphProto) -> None:
    """A product of matrices becomes an Einsum of any equation; so does any node of one or two inputs."""
    node = data.draw(st.sampled_from([node for node in graph.node if len(node.input) <= 2] or list(graph.node)))
    term = st.text("abijN", max_size=3) | st.just("...") | st.just("...a")
    left = ",".join(data.draw(st.lists(term, min_size=1, max_size=3)))
    equation = data.draw(st.sampled_from(["", left, f"{left}->", f"{left}->{data.draw(term)}", "\x1b[31m", "a" * 5000]))
    node.op_type = "Einsum"
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("equation", equation))


def mutate_initializer(data: st.DataObject, graph: onnx.GraphProto) -> None:
    """Another shape, type, content or name of a constant; or one less, or one twice."""
    if not graph.initializer:
        return
    tensor = data.draw(st.sampled_from(list(graph.initializer)))
    match data.draw(st.integers(0, 6)):
        case 0:
            for i in range(len(tensor.dims)):
                tensor.dims[i] = data.draw(numbers)
        case 1 if tensor.data_type == TensorProto.INT64 and 0 < len(tensor.raw_data) < 800:
            drawn = [data.draw(numbers) for _ in range(len(tensor.raw_data) // 8)]
            tensor.raw_data = np.array(drawn, np.int64).tobytes()
        case 2:
            tensor.data_type = data.draw(st.integers(0, 24))
        case 3:
            tensor.raw_data = tensor.raw_data[: data.draw(st.integers(0, len(tensor.raw_data)))]
        case 4:
            tensor.name = data.draw(st.sampled_from([other.name for other in graph.initializer] + ["", "z", "image"]))
        case 5:
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
        case _:
            tensor.dims.append(data.draw(numbers))


def mutate_port(data: st.DataObject, graph: onnx.GraphProto) -> None:
    """Another name, type or shape of an input or output."""
    port = data.draw(st.sampled_from([*graph.input, *graph.output]))
    shape = port.type.tensor_type.shape
    match data.draw(st.integers(0, 3)):
        case 0:
            port.type.tensor_type.elem_type = data.draw(st.integers(0, 24))
        case 1 if shape.dim:
            data.draw(st.sampled_from(list(shape.dim))).dim_value = data.draw(numbers)
        case 2:
            port.name = data.draw(st.sampled_from(["z", "image", "nowhere", "\x1b[31m"]))
        case _:
            graph.input.add().CopyFrom(port)


def mutate_model(data: st.DataObject, model: onnx.ModelProto) -> None:
    """Another version, a function, a training step, or a sparse constant."""
    match data.draw(st.integers(0, 3)):
        case 0:
            model.opset_import[0].version = data.draw(numbers)
        case 1:
            opsets = [helper.make_opsetid("", 18)]
            model.functions.append(helper.make_function("own", "f", ["x"], ["x"], [], opsets))
        case 2:
            model.training_info.add()
        case _:
            model.graph.sparse_initializer.add().dims.append(data.draw(numbers))


@fuzz
@given(data=st.data(), name=st.sampled_from(["decoder", "encoder", "sampler", "reconstructor"]))
@pytest.mark.parametrize("kind", ["bundle", "spatial_bundle", "mixture_bundle"])
def test_a_graph_that_was_changed_with_care_is_opened_or_refused(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str, kind: str
) -> None:
    """Of fully connected layers, of convolutions, and of a sampler that draws from a mixture."""
    source: Path = request.getfixturevalue(kind)
    bundle = tmp_path_factory.mktemp("fuzz")
    for file in source.iterdir():
        if file.suffix in (".onnx", ".json", ".npz"):
            (bundle / file.name).hardlink_to(file)
    content = (source / f"{name}.onnx").read_bytes()
    model = onnx.load_from_string(content)
    in_graph = [mutate_node, mutate_attribute, mutate_einsum, mutate_initializer, mutate_port]
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.integers(0, 9)) == 0:
            mutate_model(data, model)
        elif model.graph.node:
            data.draw(st.sampled_from(in_graph))(data, model.graph)
    for written in (f"{name}.onnx", "manifest.json"):
        (bundle / written).unlink()
    (bundle / "manifest.json").write_bytes((source / "manifest.json").read_bytes())
    relist(bundle, f"{name}.onnx", model.SerializeToString())
    try:
        with contained(bundle), np.errstate(all="ignore"):
            opened = Bundle.open(bundle)
            session = GraphSession(opened, name)
            ports = opened.manifest.graphs[name].inputs
            session.run(
                *(np.zeros([2 if size == "N" else int(size) for size in port.shape], port.dtype) for port in ports)
            )
    except BundleError as error:
        assert str(error).isprintable()  # noqa: PT017 (it may also succeed)
    finally:
        shutil.rmtree(bundle)


MEASURE = """
import sys, time
started = time.perf_counter()
from runtime.verify import verify_bundle
import pathlib
report = verify_bundle(pathlib.Path(sys.argv[1]))
assert not report.passed
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak) * 1024 / 1e6, time.perf_counter() - started)
"""


@pytest.mark.parametrize("body", [filled(900_000_000), much_of_each_image], ids=["constants", "an image"])
def test_verifying_an_attack_takes_neither_memory_nor_time(bundle: Path, body: Body) -> None:
    relist(bundle, "decoder.onnx", attack(body, bundle))
    done = subprocess.run([sys.executable, "-c", MEASURE, str(bundle)], capture_output=True, text=True, check=True)
    megabytes, seconds = map(float, done.stdout.split())
    assert (megabytes < 500, seconds < 5) == (True, True), done.stdout


def test_a_manifest_cannot_explain_any_size(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    from dataclasses import replace

    for metadata in (
        replace(opened.manifest.metadata, image_shape=(3, 65_536, 65_536)),
        replace(opened.manifest.metadata, latent_dim=2**20),
    ):
        with pytest.raises(BundleError, match=r"for an image|its images would be"):
            check_graph(b"", Path("decoder.onnx"), metadata, (), ())
