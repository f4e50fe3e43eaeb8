"""Classifies every picture in samples/ with digits.onnx; exits non-zero if any comes out wrong."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).parent


def as_input(path):
    """A picture as the model takes it: grey, 8x8 by antialiased bilinear, 0..1."""
    with Image.open(path) as picture:
        small = picture.convert("L").resize((8, 8), Image.BILINEAR)
    return np.asarray(small, dtype=np.float32).reshape(1, 1, 8, 8) / 255.0


def main():
    session = onnxruntime.InferenceSession(HERE / "digits.onnx", providers=["CPUExecutionProvider"])
    labels = (HERE / "labels.txt").read_text().split()
    paths = sorted((HERE / "samples").glob("digit-*"))
    wrong = 0 if paths else 1
    for path in paths:
        probabilities = session.run(["probabilities"], {"image": as_input(path)})[0][0]
        answer, expected = labels[probabilities.argmax()], path.stem.removeprefix("digit-")
        wrong += answer != expected
        verdict = "ok" if answer == expected else f"WRONG, expected {expected}"
        print(f"{path.name}: {answer} ({probabilities.max():.4f}) {verdict}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
