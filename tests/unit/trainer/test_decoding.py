"""Image files, whole, odd and broken."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.unit.trainer.image_folders import draw, truncate
from trainer.datasets.decoding import Undecodable, decode


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp", "tif", "ppm"])
def test_a_truncated_file_of_any_format_is_refused(tmp_path, extension):
    path = tmp_path / f"x.{extension}"
    draw(0, 64).save(path)
    assert decode(str(path)).size == (64, 64)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(Undecodable):
        decode(str(truncate(path)))


def test_the_reason_is_told(tmp_path):
    jpeg = tmp_path / "x.jpg"
    draw(0, 64).save(jpeg)
    with pytest.raises(Undecodable, match=r"^is damaged \(.*truncated.*\)$"):
        decode(str(truncate(jpeg)))
    jpeg.write_text("not an image")
    with pytest.raises(Undecodable, match=r"^is no image that Pillow knows$"):
        decode(str(jpeg))
    jpeg.write_bytes(b"")
    with pytest.raises(Undecodable, match=r"^is no image that Pillow knows$"):
        decode(str(jpeg))
    with pytest.raises(Undecodable, match=r"^is gone$"):
        decode(str(tmp_path / "gone.png"))


def test_a_file_made_to_fill_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    Image.new("L", (300, 300)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40_000)
    with pytest.raises(Undecodable, match=r"^is larger than 80000 pixels"):
        decode(str(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (4, 3)).save(path)
    image = decode(str(path))
    assert (image.mode, image.size) == ("RGB", (4, 3))


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    levels = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert np.asarray(decode(str(tmp_path / "x.png")))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_values_of_unknown_range_are_refused(tmp_path):
    Image.new("F", (4, 4)).save(tmp_path / "x.tif")
    with pytest.raises(Undecodable, match="pixels of kind F, whose range is not known: save it with 8 bits"):
        decode(str(tmp_path / "x.tif"))
