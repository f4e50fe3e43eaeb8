"""The model loop of the systems replaced: one job at a time off a Redis list, the upload from the disk, the network,
the result under the job's id. Their TensorFlow is ONNX Runtime here, with the threads that it takes by itself.
"""
import json
import os
import sys
import time

import numpy
import onnxruntime
import redis
import settings
from PIL import Image

MEAN = numpy.array([0.485, 0.456, 0.406], numpy.float32)
STD = numpy.array([0.229, 0.224, 0.225], numpy.float32)

# Newer clients give up waiting after a while; theirs did not.
database = redis.Redis(port=settings.REDIS_PORT, socket_timeout=None)
session = onnxruntime.InferenceSession(settings.MODEL, providers=["CPUExecutionProvider"])
source = session.get_inputs()[0].name


def predict(name):
    # Nearest neighbour, as their image loader did by default.
    with Image.open(os.path.join(settings.UPLOADS, name)) as image:
        pixels = numpy.asarray(image.convert("RGB").resize((224, 224), Image.NEAREST), numpy.float32) / 255
    tensor = ((pixels - MEAN) / STD).transpose(2, 0, 1)[None].astype(numpy.float32)
    logits = session.run(None, {source: tensor})[0].ravel()
    probabilities = numpy.exp(logits - logits.max())
    best = int(probabilities.argmax())
    return f"class {best}", float(probabilities[best] / probabilities.sum())


def classify_process():
    while True:
        _, message = database.brpop(settings.QUEUE)
        job = json.loads(message)
        prediction, score = predict(job["image_name"])
        database.set(job["id"], json.dumps({"prediction": prediction, "score": round(score, 4)}))
        time.sleep(settings.WORKER_SLEEP)


if __name__ == "__main__":
    print("Launching ML service...", file=sys.stderr)
    classify_process()
