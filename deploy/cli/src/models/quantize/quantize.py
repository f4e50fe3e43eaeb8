"""Static int8 quantisation with ONNX Runtime's own tooling, for `shoal models quantize`.

quantize.py PACKAGES JOB: PACKAGES is a folder for sys.path; JOB a JSON file with

    model    the ONNX file                 rows    .npy, a row of the model's input for each image, prepared by Shoal
    quantised    where the result goes     report  where {"versions", "kept"} or {"error"} goes
    method   minmax, entropy, percentile   keep    nodes that stay in floating point: names, "first", "last"
    batch    rows of one run, the model's fixed batch or 1

Not a line here knows about images: whatever stands in the rows is fed to the model as it is.
"""
import importlib.metadata
import json
import pathlib
import sys

sys.path.insert(0, sys.argv[1])

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnxruntime import quantization  # noqa: E402
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry  # noqa: E402
from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: E402

# Zero points of weights for each channel came with this version of the operators.
MIN_OPSET = 13
# Probabilities in steps of 1/256 would be no use to anybody, and cost nothing in floating point.
FLOAT_OPS = {"Softmax"}
# Convolutions and products: what is worth quantising.
PRODUCTS = {"Conv", "Gemm", "MatMul"}
# Calibrators hold every activation of as many rows in memory, and merge what they have found after them.
ROWS_AT_ONCE = 16
# More names would bury the sentence.
NAMES_SHOWN = 30


class Refused(Exception):
    """What was asked for cannot be; the sentence goes to the person."""


class Rows(quantization.CalibrationDataReader):
    """The prepared rows, batch by batch, in the model's own element type."""

    def __init__(self, rows, batch, name, element):
        self.rows, self.batch, self.name, self.element = rows, batch, name, element
        self.at = 0

    def get_next(self):
        if self.at >= len(self.rows):
            return None
        batch = np.array(self.rows[self.at : self.at + self.batch])
        self.at += self.batch
        # The last batch of a model with a fixed one is filled up with rows that are there already.
        batch = np.resize(batch, (self.batch, *batch.shape[1:]))
        if self.element == np.uint8:
            batch = np.clip(np.rint(batch), 0, 255)
        return {self.name: np.ascontiguousarray(batch, dtype=self.element)}


def main(job):
    folder = pathlib.Path(job["quantised"]).parent
    prepared = str(folder / "prepared.onnx")
    model = prepare(job["model"], prepared)
    kept = nodes_to_keep(model, job["keep"])
    ranges = calibrate(prepared, job)
    quantizer = quantization.QDQQuantizer(
        onnx.load(prepared),
        per_channel=True,
        # The products of processors without VNNI may saturate at 8 bits; those with it are what this is for.
        reduce_range=False,
        weight_qType=quantization.QuantType.QInt8,
        activation_qType=quantization.QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=kept,
        op_types_to_quantize=sorted(operators()),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.save_model_to_file(job["quantised"], False)
    versions = {name: importlib.metadata.version(name) for name in ("onnxruntime", "onnx")}
    return {"versions": versions, "kept": kept}


def operators():
    return (set(QDQRegistry) | set(QLinearOpsRegistry)) - FLOAT_OPS


def prepare(source, target):
    """Shapes inferred, constants folded, batch normalisation in its convolution, a name for every node."""
    model = onnx.load(source)
    opset = next(known.version for known in model.opset_import if known.domain in ("", "ai.onnx"))
    if opset < MIN_OPSET:
        model = onnx.version_converter.convert_version(model, MIN_OPSET)
    newer = target + ".opset.onnx"
    onnx.save(model, newer)
    # Symbolic inference gives up on some graphs where the plain one would do.
    try:
        quant_pre_process(newer, target)
    except Exception as error:
        print(f"without symbolic shapes: {error}")
        quant_pre_process(newer, target, skip_symbolic_shape=True)
    model = onnx.load(target)
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    onnx.save(model, target)
    return model


def nodes_to_keep(model, wanted):
    products = [node.name for node in model.graph.node if node.op_type in PRODUCTS]
    if not products:
        raise Refused("the model has no convolution and no product of matrices: nothing would gain from 8 bits")
    ends = {"first": products[0], "last": products[-1]}
    names = {node.name for node in model.graph.node}
    kept = [ends.get(name, name) for name in wanted]
    for name in kept:
        if name not in names:
            shown = ", ".join(products[:NAMES_SHOWN])
            more = f" and {len(products) - NAMES_SHOWN} more" if len(products) > NAMES_SHOWN else ""
            raise Refused(f"the model has no node `{name}` to keep: first, last, {shown}{more}")
    return kept


def calibrate(prepared, job):
    """The range of every tensor over the rows."""
    method = {
        "minmax": quantization.CalibrationMethod.MinMax,
        "entropy": quantization.CalibrationMethod.Entropy,
        "percentile": quantization.CalibrationMethod.Percentile,
    }[job["method"]]
    calibrator = quantization.create_calibrator(
        prepared,
        sorted(operators()),
        augmented_model_path=prepared + ".augmented.onnx",
        calibrate_method=method,
    )
    source = calibrator.infer_session.get_inputs()[0]
    element = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}[source.type]
    rows = np.load(job["rows"], mmap_mode="r")
    step = -(-ROWS_AT_ONCE // job["batch"]) * job["batch"]
    for start in range(0, len(rows), step):
        calibrator.collect_data(Rows(rows[start : start + step], job["batch"], source.name, element))
    return calibrator.compute_data()


if __name__ == "__main__":
    onnxruntime.set_default_logger_severity(3)
    job = json.loads(pathlib.Path(sys.argv[2]).read_text())
    try:
        report = main(job)
    except Refused as refused:
        report = {"error": str(refused)}
    pathlib.Path(job["report"]).write_text(json.dumps(report))
