"""Writes tiny models whose scores are the mean of each channel, in the layouts that occur."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

HERE = Path(__file__).parent


def write(name, element, shape, axes, fixed_output):
    nodes = []
    last = "pixels"
    if element == TensorProto.UINT8:
        nodes.append(helper.make_node("Cast", [last], ["cast"], to=TensorProto.FLOAT))
        last = "cast"
    nodes.append(helper.make_node("ReduceMean", [last], ["means"], axes=axes, keepdims=0))
    kind = TensorProto.FLOAT if element == TensorProto.UINT8 else element
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("pixels", element, shape)],
        [helper.make_tensor_value_info("means", kind, [fixed_output, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")


write("float32-nchw", TensorProto.FLOAT, ["N", 3, "H", "W"], [2, 3], "N")
write("float16-nchw", TensorProto.FLOAT16, ["N", 3, 6, 8], [2, 3], "N")
write("uint8-nhwc-batch4", TensorProto.UINT8, [4, 6, 8, 3], [1, 2], 4)
