"""YuNet's ONNX weights, read by OpenCV, written as a .tflite file that takes pictures of any size. No TensorFlow."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

from contract import card
from convert.verify import ConversionError

NAME = "yunet.tflite"
_SIDE = 32
"""Of the input as it is written; whoever loads the file resizes it."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `detector`."""
    parser.add_argument("onnx", type=Path, nargs="?", default=Path("models", card.YUNET), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder to write into (default: models)")


def run(arguments: argparse.Namespace) -> int:
    """Write the file and its card, each whole."""
    data = convert(arguments.onnx)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=".new-") as folder:
        staged = Path(folder, NAME)
        staged.write_bytes(data)
        card.beside(staged).write_text(json.dumps(card.detector_card(data), indent=1) + "\n")
        card.read_detector(staged)
        # cut off between the two, they do not belong together and are refused until this is run again
        for path in (staged, card.beside(staged)):
            path.replace(arguments.out / path.name)
    print(f"{arguments.out / NAME}: {len(data) / 1024:.0f} KiB")
    return 0


def convert(onnx: Path) -> bytes:
    """The .tflite file of YuNet_n's weights.

    Its input is (1, height, width, 3) float32 bgr from 0 to 255, both sides multiples of 32. Its outputs are, for cells
    of 8, 16 and 32 pixels, (1, rows, columns, 6) float32: the logits of face and of object, the offset x, y of the
    face's centre from the cell's corner, and the logarithms of its width and height, all in cells.

    Raises:
        ConversionError: If the weights are others than those known.
        OSError: If they cannot be read.
    """
    data = onnx.read_bytes()
    found = sha256(data).hexdigest()
    if found != card.YUNET_SHA256:
        raise ConversionError(f"{onnx}: its SHA-256 is {found}, not {card.YUNET_SHA256}; `make models` gets the file")
    network = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    layers = [network.getLayer(network.getLayerId(name)) for name in network.getLayerNames()]
    return _network([(layer.blobs[0], layer.blobs[1].ravel()) for layer in layers if layer.type == "Convolution"])


def _network(weights: Sequence["_Weights"]) -> bytes:
    """YuNet_n layer by layer, as the ONNX file has it: a backbone, a pyramid of three scales, and heads for each."""
    graph = _Graph()
    rest = iter(weights)

    def block(x: int) -> int:
        """1x1 across channels, then 3x3 within each, and ReLU."""
        return graph.convolution(graph.convolution(x, next(rest)), next(rest), relu=True)

    x = graph.tensor((1, _SIDE, _SIDE, 3))
    graph.inputs.append(x)
    x = block(graph.convolution(graph.padded(x), next(rest), relu=True, stride=2))
    x = block(block(block(block(graph.halved(x)))))
    scale_8 = block(block(graph.halved(x)))
    scale_16 = block(block(graph.halved(scale_8)))
    scale_32 = block(block(graph.halved(scale_16)))
    top = block(scale_32)
    middle = block(graph.sum(graph.doubled(top), scale_16))
    bottom = block(graph.sum(graph.doubled(middle), scale_8))
    features = [block(x) for x in (bottom, middle, top)]
    heads = {name: [(next(rest), next(rest)) for _ in features] for name in ("face", "box", "object")}
    for scale, x in enumerate(features):
        # the three heads side by side are one 1x1 and one 3x3 convolution; a fourth, for landmarks, is left out
        both = [heads[name][scale] for name in ("face", "object", "box")]
        across, within = (_joined([pair[part] for pair in both]) for part in (0, 1))
        graph.outputs.append(graph.convolution(graph.convolution(x, across), within))
    return graph.file()


_Weights = tuple[np.ndarray, np.ndarray]
"""A convolution's kernels, (out, in / groups, height, width), and biases, (out,), float32."""


def _joined(weights: Sequence[_Weights]) -> _Weights:
    return np.concatenate([kernels for kernels, _ in weights]), np.concatenate([biases for _, biases in weights])


class _Graph:
    """A TFLite model that is being written. Tensors are numbers; each method adds operators and gives their output.

    No operator depends on the picture's size, so that an interpreter can resize the input.
    """

    def __init__(self) -> None:
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self._tensors: list[Any] = []
        self._buffers = [tfl.BufferT()]  # the first is empty, by the format's rule
        self._operators: list[Any] = []
        self._codes: list[int] = []
        self._across: set[int] = set()

    def tensor(self, shape: Sequence[int], data: np.ndarray | None = None) -> int:
        """A tensor; with `data`, float32 or int32, a constant one."""
        tensor = tfl.TensorT()
        tensor.shape = list(shape)
        tensor.name = f"t{len(self._tensors)}"
        tensor.type = tfl.TensorType.FLOAT32 if data is None or data.dtype == np.float32 else tfl.TensorType.INT32
        tensor.buffer = 0
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def constant(self, data: np.ndarray) -> int:
        """A constant."""
        return self.tensor(data.shape, data)

    def padded(self, x: int) -> int:
        """One more pixel of 0 on every side."""
        batch, height, width, channels = self._tensors[x].shape
        border = self.constant(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
        shape = (batch, height + 2, width + 2, channels)
        return self._add(tfl.BuiltinOperator.PAD, [x, border], shape, tfl.PadOptionsT())

    def convolution(self, x: int, weights: _Weights, *, relu: bool = False, stride: int = 1) -> int:
        """Within each channel where a kernel has one, else across all; without stride the size stays."""
        kernels, biases = weights
        batch, height, width, channels = self._tensors[x].shape
        within = kernels.shape[1] == 1 < channels
        if within:
            code, options = tfl.BuiltinOperator.DEPTHWISE_CONV_2D, tfl.DepthwiseConv2DOptionsT()
            options.depthMultiplier = 1
            kernels = kernels.transpose(1, 2, 3, 0)
        else:
            code, options = tfl.BuiltinOperator.CONV_2D, tfl.Conv2DOptionsT()
            kernels = kernels.transpose(0, 2, 3, 1)
        options.strideW = options.strideH = stride
        options.dilationWFactor = options.dilationHFactor = 1
        options.padding = tfl.Padding.SAME if stride == 1 else tfl.Padding.VALID
        options.fusedActivationFunction = tfl.ActivationFunctionType.RELU if relu else tfl.ActivationFunctionType.NONE
        shape = (batch, height // stride, width // stride, len(biases))
        output = self._add(code, [x, self.constant(kernels), self.constant(biases)], shape, options)
        if kernels.shape[1:3] == (1, 1):
            self._across.add(output)
        return output

    def halved(self, x: int) -> int:
        """The greatest of each 2x2."""
        batch, height, width, channels = self._tensors[x].shape
        options = tfl.Pool2DOptionsT()
        options.padding = tfl.Padding.VALID
        options.strideW = options.strideH = options.filterWidth = options.filterHeight = 2
        return self._add(tfl.BuiltinOperator.MAX_POOL_2D, [x], (batch, height // 2, width // 2, channels), options)

    def doubled(self, x: int) -> int:
        """Each pixel four times. Not by RESIZE_NEAREST_NEIGHBOR, which is told a fixed size."""
        batch, height, width, channels = self._tensors[x].shape
        join = tfl.ConcatenationOptionsT()
        join.axis = 3
        four = self._add(tfl.BuiltinOperator.CONCATENATION, [x] * 4, (batch, height, width, 4 * channels), join)
        spread = tfl.DepthToSpaceOptionsT()
        spread.blockSize = 2
        shape = (batch, 2 * height, 2 * width, channels)
        return self._add(tfl.BuiltinOperator.DEPTH_TO_SPACE, [four], shape, spread)

    def sum(self, x: int, y: int) -> int:
        """Of two tensors of one shape."""
        return self._add(tfl.BuiltinOperator.ADD, [x, y], self._tensors[x].shape, tfl.AddOptionsT())

    def file(self) -> bytes:
        """The whole file. Source: schema.fbs of TensorFlow Lite, version 3."""
        subgraph = tfl.SubGraphT()
        subgraph.operators = self._operators
        subgraph.tensors, (subgraph.inputs, subgraph.outputs) = self._numbered([self.inputs, self.outputs])
        model = tfl.ModelT()
        model.version = 3
        model.subgraphs, model.buffers = [subgraph], self._buffers
        model.operatorCodes = []
        for builtin in self._codes:
            code = tfl.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = builtin
            code.version = 1
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(2**20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _numbered(self, ends: list[list[int]]) -> tuple[list[Any], list[list[int]]]:
        """The tensors, every second one of a chain before the others, and `ends` by their new numbers.

        XNNPACK places tensors of one size in the order of their numbers, and never one before the first that is in use.
        In the order of computation a chain of six takes the memory of six, so that a picture of 1280x720 takes 180 MB;
        so numbered a chain takes that of two, and the picture 80 MB.
        Source: XNNPACK, src/memory-planner.c, find_value_alloc_offset.
        """
        order = sorted(range(len(self._tensors)), key=lambda number: number not in self._across)
        new = {old: number for number, old in enumerate(order)}
        for operator in self._operators:
            operator.inputs, operator.outputs = (
                [new[old] for old in ends] for ends in (operator.inputs, operator.outputs)
            )
        return [self._tensors[old] for old in order], [[new[old] for old in numbers] for numbers in ends]

    def _add(self, code: int, inputs: list[int], shape: Sequence[int], options: Any) -> int:
        if code not in self._codes:
            self._codes.append(code)
        operator = tfl.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs = inputs
        operator.outputs = [self.tensor(shape)]
        operator.builtinOptionsType = getattr(tfl.BuiltinOptions, type(options).__name__.removesuffix("T"))
        operator.builtinOptions = options
        self._operators.append(operator)
        output: int = operator.outputs[0]
        return output
