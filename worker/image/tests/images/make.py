"""Writes the same scene in every format and pixel layout that users send (Pillow).

The scene, 64x48: red, green above blue, light grey. `python make.py` rewrites the files here.
"""

import math
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent


def scene():
    image = Image.new("RGB", (64, 48))
    quadrants = {(0, 0): (220, 30, 30), (32, 0): (30, 180, 40), (0, 24): (40, 50, 210), (32, 24): (200, 200, 200)}
    for (left, top), colour in quadrants.items():
        image.paste(colour, (left, top, left + 32, top + 24))
    return image


def turned(image, orientation):
    """Pixels stored the way a camera held otherwise stores them, with the tag that says so."""
    operations = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    for operation in operations[orientation]:
        image = image.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return image, exif


def scenery():
    """Waves of every length, 161x121: what a reduced decode must not fold into something else."""
    image = Image.new("RGB", (161, 121))
    wave = lambda x, y, length, turn: math.sin((x * math.cos(turn) + y * math.sin(turn)) * 2 * math.pi / length)
    for y in range(image.height):
        for x in range(image.width):
            long, short = wave(x, y, 90, 0.4), wave(x, y, 7, 1.2)
            image.putpixel((x, y), (int(128 + 70 * long + 30 * short), int(120 - 60 * long), int(100 + 50 * wave(x, y, 40, 2))))
    return image


def save(image, name, **options):
    image.save(HERE / name, **options)


def main():
    image = scene()
    save(image, "rgb.png")
    save(image, "rgb.bmp")
    save(image, "rgb.jpg", quality=92)
    save(image, "progressive.jpg", quality=92, progressive=True)
    save(image, "lossy.webp", quality=92)
    save(image, "lossless.webp", lossless=True)
    save(image, "rgb.tiff", compression="tiff_lzw")
    save(image.convert("P", palette=Image.Palette.ADAPTIVE), "palette.png")
    save(image.convert("RGBA"), "rgba.png")
    save(image.convert("CMYK"), "cmyk.jpg", quality=92)
    save(image.convert("L"), "gray.jpg", quality=92)
    save(image.convert("L"), "gray.png")
    save(image.convert("LA"), "gray-alpha.png")
    save(image.convert("L").convert("I;16").point(lambda value: value * 257), "gray16.png")
    for name, sampling in (("420", "4:2:0"), ("422", "4:2:2"), ("444", "4:4:4")):
        save(scenery(), f"scenery-{name}.jpg", quality=80, subsampling=sampling)
    save(scenery(), "scenery-restart.jpg", quality=80, restart_marker_blocks=3)
    save(scenery().convert("L"), "scenery-gray.jpg", quality=80)
    # scenery-440.jpg is scenery-422.jpg turned, progressive-*.jpg are the same coefficients in ten scans, by libjpeg-turbo:
    # `jpegtran -rotate 90 -trim`, `jpegtran -progressive`, for the restart markers `-restart 3B`; all with `-copy none`.
    black = Image.new("RGB", image.size)
    save(image, "animated.gif", save_all=True, append_images=[black], duration=100)
    for orientation in range(2, 9):
        stored, exif = turned(image, orientation)
        save(stored, f"turned-{orientation}.jpg", quality=92, exif=exif)
    stored, exif = turned(image, 6)
    save(stored, "turned-6.png", exif=exif)
    save(stored, "turned-6.webp", quality=92, exif=exif)


if __name__ == "__main__":
    main()
