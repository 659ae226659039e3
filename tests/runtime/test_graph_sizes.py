"""Sizes of a graph's values, worked out before it runs, are those that onnxruntime and NumPy compute."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor, nn

from runtime.onnx_guard.graph import ForbiddenError, read_graph
from runtime.onnx_guard.shapes import Sizes, infer_sizes
from tests.fuzzing import fuzz

Array = npt.NDArray[np.float32]


def tokens(x: Tensor) -> Tensor:
    """(N, C, H, W) → (N, 1, H · W, C)."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1)


def masked_attention(x: Tensor) -> Tensor:
    q = tokens(x)
    return F.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(36, 36, dtype=torch.bool).tril())


def einsum_attention(x: Tensor) -> Tensor:
    q = x.flatten(2).reshape(x.shape[0], 2, 4, 36)
    scores = torch.einsum("bhdi,bhdj->bhij", q, q).softmax(-1)
    return torch.einsum("bhij,bhdj->bhid", scores, q)


def warped(x: Tensor) -> Tensor:
    points = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 5)] * 2, indexing="xy"), -1)
    return F.grid_sample(x, points.expand(x.shape[0], 5, 5, 2), align_corners=False)


def with_a_channel_replaced(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, 0] = x[:, 1]
    return y


class Zoo(nn.Module):
    """What decoders are made of. Takes (N, 8, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module | Callable[[Tensor], Tensor]] = [
            nn.PixelShuffle(2),
            nn.PixelUnshuffle(2),
            nn.Upsample(scale_factor=2),
            nn.Upsample(size=(9, 11), mode="bilinear"),
            nn.Upsample(scale_factor=1.5, mode="bicubic"),
            nn.GroupNorm(2, 8),
            nn.InstanceNorm2d(8, affine=True),
            nn.LayerNorm([6, 6]),
            nn.RMSNorm(6),
            nn.BatchNorm2d(8),
            nn.PReLU(8),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.Mish(),
            nn.GLU(1),
            nn.Softshrink(),
            nn.ReflectionPad2d(2),
            nn.CircularPad2d(1),
            nn.Conv2d(8, 4, 3, padding=2, dilation=2, groups=2),
            nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, groups=2),
            nn.AvgPool2d(3, 2, 1, ceil_mode=True),
            nn.AdaptiveMaxPool2d(2),
            masked_attention,
            einsum_attention,
            warped,
            with_a_channel_replaced,
            lambda x: torch.roll(x, (1, 2), (2, 3)),
            lambda x: torch.flip(x, (3,)),
            lambda x: torch.atan(x) + torch.tan(x) + torch.sinh(x),
            lambda x: torch.nan_to_num(x),
            lambda x: torch.topk(x.flatten(1), 5)[0],
            lambda x: F.one_hot((x[:, 0] > 0).long(), 3),
            lambda x: F.fold(F.unfold(x, 2, stride=2), (6, 6), 2, stride=2),
            lambda x: F.normalize(x, dim=1),
            lambda x: x.std(1, keepdim=True),
            lambda x: x.cumsum(2),
            lambda x: torch.stack(x.chunk(2, 1), 2),
        ]
        self.parts = parts
        self.modules_of_parts = nn.ModuleList([part for part in parts if isinstance(part, nn.Module)])

    def forward(self, x: Tensor) -> list[Tensor]:
        return [part(x) for part in self.parts]


@pytest.fixture(scope="module", params=[18, 23])
def zoo(request: pytest.FixtureRequest) -> onnx.ModelProto:
    """As `vae-export` has it exported, in the oldest opset and in one with newer operators."""
    with redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            Zoo().eval(),
            (torch.randn(2, 8, 6, 6),),
            dynamo=True,
            external_data=False,
            opset_version=request.param,
            input_names=["x"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def run_all(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[int]:
    """Elements of the outputs of each node, by onnxruntime: every value is declared an output."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    made = [name for node in copy.graph.node for name in node.output if name]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip(made, session.run(made, inputs), strict=True))
    return [sum(found[name].size for name in node.output if name) for node in copy.graph.node]


@pytest.mark.filterwarnings("ignore")  # of torch's exporter about itself
def test_what_decoders_are_made_of_is_accepted_with_the_sizes_that_onnxruntime_computes(zoo: onnx.ModelProto) -> None:
    graph = read_graph(zoo.SerializeToString())
    for rows in (1, 3):
        x = np.random.default_rng(0).standard_normal((rows, 8, 6, 6)).astype(np.float32)
        assert infer_sizes(graph, {"x": x.shape}).elements == run_all(zoo, {"x": x})


def einsum_of(equation: str, shapes: list[tuple[int, ...]]) -> Sizes:
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*names, "y")]
    model = helper.make_model(helper.make_graph([node], "g", ports[:-1], ports[-1:]))
    return infer_sizes(read_graph(model.SerializeToString()), dict(zip(names, shapes, strict=True)))


@fuzz
@given(data=st.data())
def test_the_size_of_an_einsum_is_that_of_numpy(data: st.DataObject) -> None:
    sizes = {letter: data.draw(st.integers(1, 4)) for letter in "abcX"}
    terms, shapes = [], []
    rest = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    dots = data.draw(st.booleans())
    for _ in range(data.draw(st.integers(1, 2))):
        letters = data.draw(st.text("abcX", max_size=3))
        at = data.draw(st.integers(0, len(letters)))
        terms.append(letters[:at] + ("..." if dots else "") + letters[at:])
        shapes.append(
            tuple(sizes[x] for x in letters[:at]) + (rest if dots else ()) + tuple(sizes[x] for x in letters[at:])
        )
    equation = ",".join(terms)
    assume(equation.strip(","))
    used = sorted(set(equation) & set(sizes))
    if data.draw(st.booleans()):
        kept = data.draw(st.permutations(used))[: data.draw(st.integers(0, len(used)))]
        equation += "->" + ("..." if dots else "") + "".join(kept)
    expected = np.einsum(equation, *(np.zeros(shape, np.float32) for shape in shapes))
    found = einsum_of(equation, shapes)
    assert found.elements == [expected.size]
    assert found.multiplications == np.prod([sizes[x] for x in used] + list(rest if dots else ()), dtype=int)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ab,bc->ac", [(2, 3), (4, 5)]),
        ("ab->abc", [(2, 3)]),
        ("ab->aab", [(2, 3)]),
        ("ab", [(2, 3, 4)]),
        ("a...b...", [(2, 3, 4)]),
        ("a.b->a", [(2, 3)]),
        ("ab,bc->ac", [(2, 3)]),
        ("a,b,c->abc", [(9, ), (9, ), (9, )]),
        ("a->\x1b[31m", [(2,)]),
    ],
)  # fmt: skip
def test_an_einsum_that_does_not_fit_is_refused(equation: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ForbiddenError, match="Einsum cannot take"):
        einsum_of(equation, shapes)
