"""Writes images as input data for perf_analyzer: python3 tests/v2/perf_input.py IMAGE... > images.json"""

import base64
import json
import pathlib
import struct
import sys


def element(path):
    image = pathlib.Path(path).read_bytes()
    data = base64.b64encode(struct.pack("<I", len(image)) + image)
    return {"image": {"b64": data.decode(), "shape": [1]}}


print(json.dumps({"data": [element(path) for path in sys.argv[1:]]}))
