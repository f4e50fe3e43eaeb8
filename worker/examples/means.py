"""What `worker/image/src/means.rs` gains (Pillow, numpy): `means.py PHOTO...`.

Photographs are enlarged to what cameras take, with and without grain, and made inputs of 224 pixels (the centre of 256):
from all of their pixels with a bilinear filter, and from what Pillow's decoder makes of them at an eighth and a quarter
of their size. Prints how far the latter lie from the former, by filter: plain bilinear, the one of `means.rs`, and the best
weights that there are for brightness that wanders as photographs' does (first-order, 0.97 from pixel to pixel).
"""

import io
import sys

import numpy as np
from PIL import Image

SHORTER, SIDE, ALIKE = 256, 224, 0.97
TO_SPLINE = [43 / 27, -25 / 72, 1 / 18, -1 / 216]


def triangle(at, scale):
    return np.clip(1 - np.abs(at) / scale, 0, None)


def twice_integrated(at):
    power = lambda begins: np.clip(at - begins, 0, None) ** 4 / 24
    return power(-1.5) - 3 * power(-0.5) + 3 * power(0.5) - power(1.5)


def over_spline(at, scale):
    part = lambda at: twice_integrated(at + scale) - 2 * twice_integrated(at) + twice_integrated(at - scale)
    return sum(TO_SPLINE[abs(k)] * part(at - k) for k in range(-3, 4))


def best(middle, scale, pixels, factor):
    """Weights of the means around a place of the original, by least squares."""
    near = np.arange(max(0, int((middle - scale) / factor) - 2), min(pixels, int((middle + scale) / factor) + 3))
    seen = np.arange(int(middle - scale), int(middle + scale) + 1)
    wanted = triangle(seen + 0.5 - middle, scale)
    below = (near[:, None] * factor + np.arange(factor)).ravel()
    means = np.kron(np.eye(len(near)), np.full((1, factor), 1 / factor))
    alike = lambda ones, others: ALIKE ** np.abs(ones[:, None] - others[None])
    found = np.linalg.solve(means @ alike(below, below) @ means.T, means @ alike(below, seen) @ (wanted / wanted.sum()))
    return near, found


def weights(length, whole, factor, how):
    """For one axis: pixels of the target by pixels of a picture reduced by that factor."""
    rows, shorter = np.zeros((SIDE, length)), min(whole[1])
    resized = whole[0] * SHORTER // shorter
    scale, first = whole[0] / resized, round((resized - SIDE) / 2)
    for row in range(SIDE):
        middle = (first + row + 0.5) * scale
        if how == "best":
            near, found = best(middle, scale, length, factor)
        else:
            reach = scale / factor + (2.5 if how == "means" else 0)
            near = np.arange(max(0, int(middle / factor - reach)), min(length, int(np.ceil(middle / factor + reach))))
            kernel = over_spline if how == "means" else triangle
            found = kernel(near + 0.5 - middle / factor, scale / factor)
        rows[row, near] = found / found.sum()
    return rows


def made(picture, size, factor, how):
    pixels = np.asarray(picture, dtype=float)
    height, width = pixels.shape[:2]
    down, across = weights(height, (size[1], size), factor, how), weights(width, (size[0], size), factor, how)
    return np.rint(np.einsum("ih,hwc,jw->ijc", down, pixels, across, optimize=True).clip(0, 255))


def main():
    random, found = np.random.default_rng(0), {}
    for photo in sys.argv[1:]:
        original = Image.open(photo).convert("RGB")
        for height in (2400, 3000, 4096):
            for grain in (0, 3):
                size = (round(original.width * height / original.height), height)
                large = np.asarray(original.resize(size, Image.LANCZOS)) + random.normal(0, grain, (height, size[0], 1))
                jpeg = io.BytesIO()
                Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(jpeg, "jpeg", quality=90, subsampling=2)
                expected = made(Image.open(jpeg), size, 1, "bilinear")
                for factor in (8, 4):
                    reduced = Image.open(jpeg)
                    reduced.draft("RGB", (size[0] // factor, size[1] // factor))
                    for how in ("bilinear", "means", "best"):
                        off = np.sqrt(np.mean((made(reduced, size, factor, how) - expected) ** 2))
                        found.setdefault((height, factor, how), []).append(off)
    for (height, factor, how), off in sorted(found.items()):
        print(f"{height} rows at 1/{factor}, {how:8}: off by {np.mean(off):.2f} ({min(off):.2f} to {max(off):.2f})")


if __name__ == "__main__":
    main()
