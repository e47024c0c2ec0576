"""Image files of any kind and size, as the pixels that a network sees.

An image is turned as its EXIF says, laid on white where it is transparent, brought to 8 bits, cut
to the middle of the aspect ratio that is asked for, and resized by Pillow, bilinearly and
antialiased (what torchvision's Resize and CenterCrop do). One that has the right size already keeps
its pixels as they are.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from physjax.data.pixels import SIDE, to_rgb
from physjax.data.types import DataError

SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
        *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
"""Endings of names, in small letters, by which a file in a folder is taken for an image."""
# Not all that Pillow knows: some are read by programs of others, like PostScript by Ghostscript.
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
LARGEST = 89_478_485
"""Pixels that an image may have: Pillow's own limit, a quarter of a gigabyte in three channels."""

_DRAFT = 4
"""So many times the size that is asked for a JPEG has at least when it is resized."""

Pixels = npt.NDArray[np.uint8]


class ImageError(DataError):
    """A file that is no image, or a damaged one; the message names it."""


def read_image(path: str | Path, native: tuple[int, int, int], side: int = SIDE) -> Pixels:
    """An image file as a network sees it, uint8 [side, side, 3].

    Args:
      path: of the file.
      native: height, width and channels (1 or 3) that it is brought to first; a black border and
        copies of a grey channel do the rest, as in the data set that the network was trained on.
      side: in pixels.

    Raises:
      ImageError: there is no such file, or it is no image that can be read.
    """
    with quiet():
        return decode_file(Path(path), native, side)


def decode_file(path: Path, native: tuple[int, int, int], side: int = SIDE) -> Pixels:
    """As :func:`read_image`, inside the caller's :func:`quiet`, which threads must share."""
    return to_rgb(_opened(path, native)[None], side)[0]


def read_images(
    paths: Sequence[str | Path], native: tuple[int, int, int], side: int = SIDE
) -> Pixels:
    """Image files as a network sees them, uint8 [N, side, side, 3]; see :func:`read_image`."""
    images = np.empty((len(paths), side, side, 3), np.uint8)
    for index, path in enumerate(paths):
        images[index] = read_image(path, native, side)
    return images


def resize(images: Pixels, height: int, width: int) -> Pixels:
    """uint8 images [N, H, W, 1 or 3] of another size: [N, height, width, 1 or 3].

    The middle of the aspect ratio that is asked for is cut out, and resized bilinearly with
    antialiasing, as files are.
    """
    if images.shape[1:3] == (height, width):
        return images
    resized = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for index, pixels in enumerate(images):
        grey = pixels.shape[2] == 1
        image = Image.fromarray(pixels[..., 0] if grey else pixels)
        resized[index] = _fitted(image, height, width).reshape(resized.shape[1:])
    return resized


def _opened(path: Path, native: tuple[int, int, int]) -> Pixels:
    """The image in a file, uint8 [height, width, channels] of `native`."""
    try:
        if not path.is_file():  # a pipe would be waited for
            what = "it is a folder" if path.is_dir() else "there is no such file"
            raise ImageError(f"{shown(path)}: {what}")
        with path.open("rb") as file:
            return decode_image(file, native)
    except ImageError:
        raise
    except OSError as error:
        if error.errno and error.strerror:
            raise ImageError(f"{shown(path)}: {error.strerror}") from error
        raise ImageError(f"{shown(path)}: {_reason(error)}") from error
    # Damaged files end Pillow's decoders in many ways.
    except (Exception, MemoryError) as error:
        raise ImageError(f"{shown(path)}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "it is no image of a known format"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {LARGEST:,} pixels"
    if isinstance(error, ValueError) and str(error).startswith("its pixels"):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    return f"the image is damaged ({text[:120]})"


def decode_image(file: IO[bytes], native: tuple[int, int, int]) -> Pixels:
    """The first image of an open file, uint8 [height, width, channels] of `native`.

    To be called inside :func:`quiet`. Raises whatever a damaged file makes Pillow raise.
    """
    height, width, channels = native
    with Image.open(file, formats=_formats()) as opened:
        image: Image.Image = opened
        if image.width * image.height > LARGEST:
            raise Image.DecompressionBombError
        # A JPEG is decoded at a half, a quarter or an eighth where that is far larger than what is
        # made of it: a photo in a third of the time, and no pixel of the result moves by more than
        # one of 255.
        opened.draft(None, (_DRAFT * width, _DRAFT * height))
        image.load()
        # A damaged EXIF is no damaged image.
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)
        image = _on_white(_to_8_bits(image))
        if channels == 1 and image.mode not in ("1", "L"):
            image = image.convert("RGB")
        image = image.convert("L" if channels == 1 else "RGB")
        return _fitted(image, height, width).reshape(native)


def _to_8_bits(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are real numbers, of which no range is known")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its pixels are whole numbers of more than 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(seen)
    return white.convert("RGB")


def _fitted(image: Image.Image, height: int, width: int) -> Pixels:
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    return np.asarray(image)


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings of odd files; what it warns of as too large is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def ignore_odd_files() -> None:
    """From now on Pillow does not warn of odd files in this process: what :func:`quiet` does, for
    threads that decode while others do something else. What is too large is refused all the same.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def shown(path: str | Path) -> str:
    """A path as a line of text shows it, whatever bytes its name has."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
