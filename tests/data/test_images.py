"""Image files: every kind that people have, turned, cut and resized as the docs say."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from PIL import Image, ImageOps

from helpers.fuzzing import CHANGES, Change, damage, examples
from physjax.data.image_files import find_images
from physjax.data.images import ImageError, read_image, read_images, resize

RGB = (32, 32, 3)


def pixels(height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    made = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    made.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp"])
def test_an_image_of_the_right_size_keeps_its_pixels(name: str, tmp_path: Path) -> None:
    image = pixels()
    options = {"lossless": True} if name.endswith("webp") else {}
    np.testing.assert_array_equal(read_image(saved(tmp_path / name, image, **options), RGB), image)


def grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L"))


MODES: dict[str, Callable[[np.ndarray], tuple[Image.Image, np.ndarray]]] = {
    "grey": lambda x: (Image.fromarray(grey(x)), grey(x)),
    "black and white": lambda x: (
        Image.fromarray(grey(x)).convert("1"),
        np.asarray(Image.fromarray(grey(x)).convert("1")).astype(np.uint8) * 255,
    ),
    "16 bits": lambda x: (Image.fromarray(grey(x).astype(np.uint16) * 257), grey(x)),
    "palette": lambda x: (
        Image.fromarray(x).quantize(200),
        np.asarray(Image.fromarray(x).quantize(200).convert("RGB")),
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_other_kinds_of_pixels(mode: str, tmp_path: Path) -> None:
    image, wanted = MODES[mode](pixels())
    if wanted.ndim == 2:
        wanted = np.repeat(wanted[..., None], 3, -1)
    path = saved(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(path, RGB), wanted)


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    image = pixels()
    alpha = np.full((32, 32, 1), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 102  # 102/255 = 2/5
    found = read_image(saved(tmp_path / "a.png", np.concatenate([image, alpha], -1)), RGB)
    assert (found[:, :10] == 255).all()
    mixed = 0.4 * image[:, 10:20] + 0.6 * 255
    np.testing.assert_allclose(found[:, 10:20], mixed, atol=1)
    np.testing.assert_array_equal(found[:, 20:], image[:, 20:])
    palette = Image.fromarray(image).quantize(8)
    found = read_image(saved(tmp_path / "p.png", palette, transparency=3), RGB)
    assert (found[np.asarray(palette) == 3] == 255).all()
    assert (np.asarray(palette) == 3).any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(orientation: int, tmp_path: Path) -> None:
    upright = pixels()
    undo = {
        1: lambda x: x,
        2: lambda x: x[:, ::-1],
        3: lambda x: x[::-1, ::-1],
        4: lambda x: x[::-1],
        5: lambda x: x.swapaxes(0, 1),
        6: lambda x: np.rot90(x, 1),
        7: lambda x: np.rot90(x, 2).swapaxes(0, 1),
        8: lambda x: np.rot90(x, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", np.ascontiguousarray(undo), exif=exif)
    np.testing.assert_array_equal(read_image(path, RGB), upright)


def test_the_middle_is_cut_out_and_made_smaller_without_aliasing(tmp_path: Path) -> None:
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255 * (np.indices((64, 64)).sum(0) % 2)[..., None]  # a fine chessboard
    wide[:, :64] = (255, 0, 0)
    found = read_image(saved(tmp_path / "a.png", wide), RGB)
    # The chessboard alone, its squares averaged: a resize that skips pixels gives 0 or 255.
    np.testing.assert_allclose(found[2:-2, 2:-2], 127, atol=2)
    large = read_image(saved(tmp_path / "b.png", pixels(7, 5)), RGB)
    assert large.shape == RGB
    assert len(np.unique(large)) > 50
    # Arrays are resized as files are.
    np.testing.assert_array_equal(resize(wide[None], 32, 32)[0], found)
    grey_alone = resize(wide[None, ..., 2:], 32, 32)
    np.testing.assert_array_equal(grey_alone[0, ..., 0], found[..., 2])


def test_a_large_photo_is_decoded_in_part_and_looks_the_same(tmp_path: Path) -> None:
    noise = Image.fromarray(pixels(9, 12)).resize((1200, 900), Image.Resampling.BICUBIC)
    path = saved(tmp_path / "a.jpg", noise, quality=90)
    with Image.open(path) as image:
        whole = ImageOps.fit(image, (32, 32), method=Image.Resampling.BILINEAR)
    found = read_image(path, RGB).astype(int)
    assert np.abs(found - np.asarray(whole)).max() <= 1
    small = saved(tmp_path / "b.jpg", noise.resize((80, 60)), quality=90)
    with Image.open(small) as image:
        whole = ImageOps.fit(image, (32, 32), method=Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_image(small, RGB), whole)


def test_grey_and_bordered_as_the_data_set_is(tmp_path: Path) -> None:
    image = pixels(28, 28)
    found = read_image(saved(tmp_path / "a.png", image), (28, 28, 1))
    assert found.shape == RGB
    np.testing.assert_array_equal(found[2:30, 2:30], np.repeat(grey(image)[..., None], 3, -1))
    assert not found[:2].any()
    assert read_image(tmp_path / "a.png", (64, 64, 3), 64).shape == (64, 64, 3)


def claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "whole.jpg", pixels(90, 90))
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "notes.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "bomb.png").write_bytes(claims(20_000, 20_000))
    (tmp_path / "large.png").write_bytes(claims(10_000, 9_000))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "drawing.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    saved(tmp_path / "real.tif", Image.fromarray(pixels()[..., 0].astype(np.float32)))
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in {
        "cut.jpg": "damaged .*truncated",
        "notes.jpg": "no image of a known format",
        "empty.png": "no image of a known format",
        "bomb.png": "more than 89,478,485 pixels",
        "large.png": "more than 89,478,485 pixels",
        "folder.png": "it is a folder",
        "drawing.eps": "no image of a known format",
        "real.tif": "its pixels are real numbers",
        "pipe.png": "no such file",
        "gone.png": "no such file",
        "line\nbreak.png": "no such file",
    }.items():
        with pytest.raises(ImageError, match=message) as refused:
            read_image(tmp_path / name, RGB)
        assert "\n" not in str(refused.value)
        assert repr(name)[1:-1] in str(refused.value)
    with pytest.raises(ImageError, match=r"cut\.jpg"):
        read_images([tmp_path / "whole.jpg", tmp_path / "cut.jpg"], RGB)


@given(changes=CHANGES)
@examples(60)
def test_a_damaged_image_is_read_or_refused(
    changes: list[Change], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    for kind in ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(pixels(40, 40)).save(buffer, kind)
        path = folder / f"a.{kind}"
        path.write_bytes(damage(buffer.getvalue(), changes))
        with contextlib.suppress(ImageError):
            assert read_image(path, RGB).shape == RGB


def test_files_folders_and_patterns(tmp_path: Path) -> None:
    names = ["b.png", "a.png", "sub/deep/c.jpg", "sub/notes.txt", ".hidden/d.png", "Thumbs.db"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "[1].png").touch()

    def found(*words: str) -> list[str]:
        return [
            str(x) if isinstance(x, ImageError) else str(x.relative_to(tmp_path))
            for x in find_images([str(tmp_path / word) for word in words])
        ]

    in_folder = ["[1].png", "a.png", "b.png", "sub/notes.txt", "sub/deep/c.jpg"]
    assert found("") == in_folder
    assert found("b.png", "sub") == ["b.png", "sub/notes.txt", "sub/deep/c.jpg"]
    assert found("*.png") == ["[1].png", "a.png", "b.png"]
    assert found("**/*.jpg") == ["sub/deep/c.jpg"]
    assert found("[1].png") == ["[1].png"], "a file that is there is no pattern"
    (missing, none, empty) = found("gone.png", "*.gif", "empty")
    assert missing.endswith("gone.png: there is no such file")
    assert none.endswith("*.gif: no file matches it")
    assert empty.endswith("empty: there is no file in this folder")
    assert "there is no such file" in found("x" * 5000)[0]
