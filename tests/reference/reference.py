"""The reference that Shoal's answers are held against: onnxruntime and Pillow.

Writes `golden.json`: the top class and its score for photographs in several encodings, run through
SqueezeNet (shorter side 256, centre crop 224, BGR, mean 104 117 123). The model and the
photographs are test data outside the repository (first argument: their folder).

    python reference.py ../../../shared/models
"""

import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).parent


def encodings(photo):
    """The photograph as the tests send it: as it is, losslessly, and as large as those that cameras take."""
    original = Image.open(photo).convert("RGB")
    png = io.BytesIO()
    original.save(png, "PNG")

    def enlarged(percent):
        size = (original.width * percent // 100, original.height * percent // 100)
        jpeg = io.BytesIO()
        original.resize(size, Image.LANCZOS).save(jpeg, "JPEG", quality=92)
        return jpeg.getvalue()

    return {"jpeg": photo.read_bytes(), "png": png.getvalue(), "large": enlarged(600), "camera": enlarged(997)}


def prepared(data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.BILINEAR)
    left, top = round((image.width - 224) / 2), round((image.height - 224) / 2)
    rgb = np.asarray(image.crop((left, top, left + 224, top + 224)), dtype=np.float32)
    bgr = rgb[:, :, ::-1] - np.array([104, 117, 123], dtype=np.float32)
    return np.ascontiguousarray(bgr.transpose(2, 0, 1))[None]


def main():
    folder = Path(sys.argv[1])
    session = onnxruntime.InferenceSession(folder / "squeezenet.onnx", providers=["CPUExecutionProvider"])
    labels = (folder / "imagenet-labels.txt").read_text().splitlines()
    golden = {}
    for photo in sorted((folder / "photos").glob("*.jpg")):
        for kind, data in encodings(photo).items():
            scores = session.run(None, {"data_0": prepared(data)})[0].reshape(-1)
            best = int(scores.argmax())
            golden[f"{photo.stem}-{kind}"] = {"label": labels[best], "score": round(float(scores[best]), 4)}
    (HERE / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")
    print(json.dumps(golden, indent=2))


if __name__ == "__main__":
    main()
