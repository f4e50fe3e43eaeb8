"""Writes brittle.onnx: a classifier that takes a picture of one solid grey as a dare.

White makes it divide the smallest integer by -1, which kills the process inside ONNX Runtime (SIGFPE); grey
128 makes it look up an index that is not there, which is an error of the session. Everything else
is called dark or bright. Needs onnx from PyPI; the file is committed.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

PIXELS = 8 * 8 * 3

node = helper.make_node
nodes = [
    node("ReduceSum", ["pixels", "axes"], ["sum"], keepdims=0),
    node("Cast", ["sum"], ["whole"], to=TensorProto.INT64),
    node("Sub", ["whole", "more_than_white"], ["minus_one_if_white"]),
    node("Div", ["smallest", "minus_one_if_white"], ["quotient"]),
    node("Equal", ["whole", "grey"], ["is_grey"]),
    node("Cast", ["is_grey"], ["grey_as_number"], to=TensorProto.INT64),
    node("Mul", ["grey_as_number", "five"], ["index"]),
    node("Gather", ["table", "index"], ["looked_up"]),
    node("Cast", ["quotient"], ["quotient_float"], to=TensorProto.FLOAT),
    node("Mul", ["quotient_float", "nothing"], ["no_quotient"]),
    node("Div", ["sum", "largest"], ["brightness"]),
    node("Add", ["brightness", "no_quotient"], ["brighter"]),
    node("Mul", ["brighter", "looked_up"], ["bright"]),
    node("Sub", ["certain", "bright"], ["dark"]),
    node("Unsqueeze", ["dark", "last"], ["dark_column"]),
    node("Unsqueeze", ["bright", "last"], ["bright_column"]),
    node("Concat", ["dark_column", "bright_column"], ["scores"], axis=1),
]
constants = [
    helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
    helper.make_tensor("more_than_white", TensorProto.INT64, [], [255 * PIXELS + 1]),
    helper.make_tensor("smallest", TensorProto.INT64, [], [-(2**63)]),
    helper.make_tensor("grey", TensorProto.INT64, [], [128 * PIXELS]),
    helper.make_tensor("five", TensorProto.INT64, [], [5]),
    helper.make_tensor("table", TensorProto.FLOAT, [1], [1.0]),
    helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]),
    helper.make_tensor("largest", TensorProto.FLOAT, [], [255.0 * PIXELS]),
    helper.make_tensor("certain", TensorProto.FLOAT, [], [1.0]),
    helper.make_tensor("last", TensorProto.INT64, [1], [1]),
]
graph = helper.make_graph(
    nodes,
    "brittle",
    [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, 8, 8])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
    constants,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.checker.check_model(model)
onnx.save(model, Path(__file__).with_suffix(".onnx"))
