"""NVIDIA's own client against a gateway that serves the digit model.

    PYTHONPATH=.tools/python-v2 python3 tests/v2/triton.py HOST:PORT

Images and tensors, JSON and binary, compressed and not, one and several: whatever the way, each of the
ten samples must come back as itself. Exits with an exception when something is wrong.
"""

import base64
import io
import pathlib
import struct
import sys
import zlib

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "digits"
SAMPLES = pathlib.Path(__file__).parents[2] / "worker/models/digits/samples"


def pixels(png):
    """A PNG of eight grey bits, decoded by hand: numpy has no decoder."""
    data, at = b"", 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", png[at + 8 : at + 18])
            assert (depth, color) == (8, 0), "a sample is grey"
        if kind == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += length + 12
    raw, rows, above = zlib.decompress(data), [], bytes(width)
    for y in range(height):
        line = raw[y * (width + 1) : (y + 1) * (width + 1)]
        row = bytearray(line[1:])
        for x in range(width):
            left, up, corner = (row[x - 1] if x else 0), above[x], (above[x - 1] if x else 0)
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            row[x] = (row[x] + (0, left, up, (left + up) // 2, paeth)[line[0]]) & 255
        rows.append(above := bytes(row))
    return np.frombuffer(b"".join(rows), np.uint8).reshape(height, width)


def small(digit):
    """A sample in the model's own 8x8: each of its squares is one of these pixels, enlarged."""
    enlarged = pixels((SAMPLES / f"digit-{digit}.png").read_bytes())
    step = enlarged.shape[0] // 8
    return enlarged[step // 2 :: step, step // 2 :: step]


def sample(digit):
    """The same as a PNG: nothing is left to resize, so that the tensor is known exactly."""
    lines = b"".join(b"\0" + row.tobytes() for row in small(digit))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    crc = lambda kind, data: struct.pack(">I", zlib.crc32(kind + data))
    parts = (struct.pack(">I", len(data)) + kind + data + crc(kind, data) for kind, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tensor(digit):
    """What the manifest's preprocessing makes of it."""
    return (small(digit).astype(np.float32) / np.float32(255)).reshape(1, 8, 8)


def image_input(images, binary):
    if not binary:
        images = [base64.b64encode(image) for image in images]
    data = triton.InferInput("image", [len(images), 1], "BYTES")
    data.set_data_from_numpy(np.array(images, dtype=np.object_).reshape(-1, 1), binary_data=binary)
    return [data]


def tensor_input(tensors, binary):
    batch = np.stack(tensors)
    data = triton.InferInput("image", list(batch.shape), "FP32")
    data.set_data_from_numpy(batch, binary_data=binary)
    return [data]


def labels(result):
    return [row[0].decode() if isinstance(row[0], bytes) else row[0] for row in result.as_numpy("label")]


def refused(status, word, work):
    try:
        work()
    except InferenceServerException as error:
        assert error.status() == str(status) and word in error.message(), error
        return
    raise AssertionError(f"not refused: {word}")


def check_server(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_repository_index() == [
        {"name": MODEL, "version": "1", "state": "READY", "reason": ""}
    ]


def check_model(client):
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1, 1]}], metadata
    assert [output["name"] for output in metadata["outputs"]] == ["label", "score", "index"]
    assert metadata["parameters"]["tensor"]["shape"] == [-1, 1, 8, 8]
    config = client.get_model_config(MODEL)
    # What perf_analyzer holds against each other before it sends anything.
    assert config["max_batch_size"] > 1
    for kind in ("input", "output"):
        names = [tensor["name"] for tensor in config[kind]]
        assert names == [tensor["name"] for tensor in metadata[kind + "s"]]
    refused(404, "nobody", lambda: client.get_model_metadata("nobody"))
    refused(404, "version", lambda: client.get_model_metadata(MODEL, "7"))


def check_every_way(client):
    digits = list(range(10))
    images, tensors = [sample(digit) for digit in digits], [tensor(digit) for digit in digits]
    expected = [str(digit) for digit in digits]
    scores = []
    for make, values in ((image_input, images), (tensor_input, tensors)):
        for binary in (False, True):
            outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "score", "index")]
            for asked in (None, outputs):
                result = client.infer(MODEL, make(values, binary), outputs=asked, request_id="mine")
                assert result.get_response()["id"] == "mine"
                assert labels(result) == expected, (make, binary, labels(result))
                assert result.as_numpy("index")[:, 0].tolist() == digits
                assert result.as_numpy("score").shape == (10, 5)
                scores.append(result.as_numpy("score"))
            for compression in ("gzip", "deflate"):
                result = client.infer(MODEL, make(values, binary), request_compression_algorithm=compression,
                                      response_compression_algorithm=compression)
                assert labels(result) == expected
    # An image and the tensor that the manifest makes of it are the same to the model.
    for others in scores[1:]:
        assert np.allclose(scores[0], others, atol=1e-5)


def check_asynchronous(client):
    pending = [client.async_infer(MODEL, image_input([sample(digit)], True)) for digit in range(10)]
    assert [labels(one.get_result())[0] for one in pending] == [str(digit) for digit in range(10)]


def check_wishes(client):
    three = image_input([sample(3)], True)
    result = client.infer(MODEL, three, parameters={"top_k": 2}, timeout=9_000_000, priority=1)
    assert result.as_numpy("label").shape == (1, 2)
    classified = [triton.InferRequestedOutput("score", class_count=3)]
    row = client.infer(MODEL, three, outputs=classified).as_numpy("score")[0]
    score, index, label = row[0].decode().split(":")
    assert len(row) == 3 and float(score) > 0.5 and (index, label) == ("3", "3"), row


def check_refusals(client):
    three = image_input([sample(3)], True)
    unknown = [triton.InferRequestedOutput("probabilities")]
    refused(400, "label, score, index", lambda: client.infer(MODEL, three, outputs=unknown))
    refused(400, "top_k", lambda: client.infer(MODEL, three, parameters={"top_k": 99}))
    refused(400, "sequences", lambda: client.infer(MODEL, three, sequence_id=5, sequence_start=True))
    refused(404, "nobody", lambda: client.infer("nobody", three))
    refused(400, "not an image", lambda: client.infer(MODEL, image_input([b"no image"], True)))
    broken = [sample(1), sample(2)[:40]]
    refused(400, "image 1", lambda: client.infer(MODEL, image_input(broken, True)))
    large = [np.zeros((1, 9, 9), np.float32)]
    refused(400, "[N, 1, 8, 8]", lambda: client.infer(MODEL, tensor_input(large, True)))
    holes = [np.full((1, 8, 8), np.nan, np.float32)]
    refused(400, "NaN", lambda: client.infer(MODEL, tensor_input(holes, True)))


def check_statistics(client):
    def statistics():
        return client.get_inference_statistics(MODEL)["model_stats"][0]

    before = statistics()
    fresh = np.random.default_rng().random((4, 1, 8, 8), np.float32)
    for _ in range(2):
        client.infer(MODEL, tensor_input(list(fresh), True))
    after = statistics()
    grown = {
        name: after["inference_stats"][name]["count"] - before["inference_stats"][name]["count"]
        for name in after["inference_stats"]
    }
    # perf_analyzer takes the count of `queue` for that of all requests, hits of the cache included.
    assert grown["success"] == grown["queue"] == 8, grown
    assert grown["cache_miss"] == grown["cache_hit"] == 4, grown
    assert grown["compute_infer"] == grown["compute_input"] == 4, grown
    assert after["inference_count"] - before["inference_count"] == 4
    assert 1 <= after["execution_count"] - before["execution_count"] <= 4
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert client.get_inference_statistics()["model_stats"][0]["name"] == MODEL


def check_npy(address):
    """The same tensor as a file that numpy wrote, at the route for images."""
    import http.client
    import json

    for shape in ((1, 8, 8), (1, 1, 8, 8)):
        file = io.BytesIO()
        np.save(file, tensor(7).reshape(shape))
        connection = http.client.HTTPConnection(address)
        connection.request("POST", "/predict", file.getvalue())
        answer = json.loads(connection.getresponse().read())
        assert answer["prediction"] == "7" and answer["image_file_name"].endswith(".npy"), answer


def main(address):
    client = triton.InferenceServerClient(address, concurrency=4)
    check_server(client)
    check_model(client)
    check_every_way(client)
    check_asynchronous(client)
    check_wishes(client)
    check_refusals(client)
    check_statistics(client)
    check_npy(address)
    print("tritonclient: all checks hold")


if __name__ == "__main__":
    main(sys.argv[1])
