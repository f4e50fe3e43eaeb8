"""Trains the embedded digit model and writes everything beside this script.

Data: scikit-learn's bundled handwriting set (1,797 images of 8x8 pixels, 0..16), nothing is
downloaded. Deterministic: the same library versions give the same bytes.
"""

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL
import scipy
import sklearn
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
SEED = 20
HIDDEN = (256, 96)
COPIES = 14
DECAY = 0.03
STAGES = ((1e-3, 16), (1e-4, 6))  # (learning rate, epochs)
SAMPLE_SIDE = 128


def shaken(image, rng):
    """One augmented copy: a small turn, a shift, another stroke weight; half of them inverted."""
    turned = ndimage.rotate(image, rng.uniform(-10, 10), reshape=False, order=1, mode="constant")
    moved = ndimage.shift(turned, rng.uniform(-0.6, 0.6, size=2), order=1, mode="constant")
    gain, floor = rng.uniform(0.75, 1.1), rng.uniform(0.0, 0.12)
    strokes = np.clip(floor + gain * moved, 0.0, 1.0)
    return 1.0 - strokes if rng.random() < 0.5 else strokes


def augmented(images, labels, rng):
    """The training images, the same as serving blurs them, inverses of both, and shaken copies."""
    served = np.stack([as_seen(picture(i)) for i in images])
    copies = [images, 1.0 - images, served, 1.0 - served]
    copies += [np.stack([shaken(i, rng) for i in images]) for _ in range(COPIES)]
    return np.concatenate(copies).reshape(-1, 64), np.tile(labels, len(copies))


def fitted(inputs, targets):
    """The network after its stages; a fixed number of epochs, so not converging is no news."""
    network = MLPClassifier(HIDDEN, alpha=DECAY, batch_size=128, random_state=SEED, warm_start=True)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        for rate, epochs in STAGES:
            network.set_params(learning_rate_init=rate, max_iter=epochs).fit(inputs, targets)
    return network


def train():
    """Gives the fitted network and the held-out images and labels."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16.0
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.2, random_state=SEED, stratify=labels
    )
    inputs, targets = augmented(train_x, train_y, np.random.default_rng(SEED))
    return fitted(inputs, targets), test_x, test_y, len(train_x)


def to_onnx(network):
    """The network as Flatten, Gemm, Relu, ... Softmax; nothing but float32."""
    nodes, weights, last = [helper.make_node("Flatten", ["image"], ["x0"])], [], "x0"
    layers = list(zip(network.coefs_, network.intercepts_))
    for number, (matrix, bias) in enumerate(layers, start=1):
        weights += [
            numpy_helper.from_array(matrix.astype(np.float32), f"w{number}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b{number}"),
        ]
        nodes.append(helper.make_node("Gemm", [last, f"w{number}", f"b{number}"], [f"y{number}"]))
        last = f"y{number}"
        if number < len(layers):
            nodes.append(helper.make_node("Relu", [last], [f"x{number}"]))
            last = f"x{number}"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="shoal")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def picture(image):
    """An 8x8 digit as a 128x128 picture that a person reads."""
    small = Image.fromarray(np.round(image * 255).astype(np.uint8))
    return small.resize((SAMPLE_SIDE, SAMPLE_SIDE), Image.BICUBIC)


def as_seen(image):
    """What the model sees of a picture: antialiased bilinear back to 8x8."""
    return np.asarray(image.resize((8, 8), Image.BILINEAR), dtype=np.float32) / 255.0


def predict(session, images):
    return session.run(None, {"image": np.asarray(images, dtype=np.float32).reshape(-1, 1, 8, 8)})[0]


def write_samples(session, test_x, test_y):
    """The first held-out image of every digit that is recognised with confidence."""
    folder = HERE / "samples"
    folder.mkdir(exist_ok=True)
    for digit in range(10):
        for image in test_x[test_y == digit]:
            drawn = picture(image)
            if predict(session, as_seen(drawn))[0, digit] > 0.97:
                drawn.save(folder / f"digit-{digit}.png", optimize=True)
                if digit == 3:
                    drawn.save(folder / "digit-3.jpg", quality=90)
                break
        else:
            raise SystemExit(f"no confident held-out sample of {digit}")


def main():
    network, test_x, test_y, train_count = train()
    blob = to_onnx(network)
    (HERE / "digits.onnx").write_bytes(blob)
    (HERE / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    session = onnxruntime.InferenceSession(blob, providers=["CPUExecutionProvider"])

    def accuracy(images):
        return round(float((predict(session, images).argmax(1) == test_y).mean()), 4)

    write_samples(session, test_x, test_y)
    card = {
        "seed": SEED,
        "hidden_layers": HIDDEN,
        "images": {"train": train_count, "held_out": len(test_y)},
        "held_out_accuracy": {
            "as_is": accuracy(test_x),
            "inverted": accuracy(1.0 - test_x),
            "through_128x128_pictures": accuracy([as_seen(picture(i)) for i in test_x]),
        },
        "onnx": {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()},
        "versions": {m.__name__: m.__version__ for m in (np, scipy, sklearn, onnx, onnxruntime, PIL)},
        "data": "UCI Optical Recognition of Handwritten Digits, by way of scikit-learn (CC BY 4.0)",
    }
    text = json.dumps(card, indent=2)
    (HERE / "card.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
