"""Writes the JPEGs that `decode.rs` is measured with (Pillow, numpy): `photographs.py FOLDER`.

Value noise whose octaves are each 1/1.7 as strong as the one before, as in `loadtest/src/photograph.rs`, here with the
samplings and tables that cameras use. Grain as sensors have it is added to the large ones: without it, most blocks of so
many pixels would be empty.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(1)


def scene(width, height, octaves, grain):
    pixels = np.full((height, width, 3), 128, np.float32) + RNG.normal(0, grain, (height, width, 3)).astype(np.float32)
    for octave in range(octaves):
        cells = 3 << octave
        grid = (RNG.random((cells + 2, cells + 2, 3), dtype=np.float32) - 0.5) * (150 / 1.7**octave)
        u, v = np.arange(width) / width * cells, np.arange(height) / height * cells
        x, y = u.astype(int), v.astype(int)
        fx, fy = (u - x)[None, :, None].astype(np.float32), (v - y)[:, None, None].astype(np.float32)
        for row, weight in ((y, 1 - fy), (y + 1, fy)):
            pixels += (grid[row][:, x] * (1 - fx) + grid[row][:, x + 1] * fx) * weight
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image, most, **options):
    """At the best quality whose length is at most `most` bytes."""
    low, high = 1, 100
    while high - low > 1:
        middle = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, "jpeg", quality=middle, **options)
        low, high = (low, middle) if len(buffer.getvalue()) > most else (middle, high)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=low, **options)
    return buffer.getvalue()


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    small, large = scene(500, 375, 7, 0), scene(4000, 3000, 10, 3)
    for name, options in {"444": {"subsampling": 0}, "420": {"subsampling": 2}}.items():
        (folder / f"500x375-{name}.jpg").write_bytes(encoded(small, 58_000, **options))
        (folder / f"4000x3000-{name}.jpg").write_bytes(encoded(large, 3_500_000, **options))
    kinds = {"optimised": {"optimize": True}, "restart": {"restart_marker_rows": 1}, "progressive": {"progressive": True}}
    for name, options in kinds.items():
        (folder / f"4000x3000-420-{name}.jpg").write_bytes(encoded(large, 3_500_000, subsampling=2, **options))


if __name__ == "__main__":
    main()
