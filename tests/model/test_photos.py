"""Files as people have them: the right picture, the same for the same bytes, or a line that says what it is."""

import contextlib
import io
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from files_geograph import passed_over, scan_folder
from photos_geograph import PhotoError, open_photo, resize_and_crop
from tests.support import photo_factory as factory

GREY_LEVELS = 1.5  # mean difference to CLIP's own processor on the full photo


@pytest.fixture(scope="module")
def clip():
    processor = CLIPImageProcessorPil(do_rescale=False, do_normalize=False)

    def pixels(photo: bytes) -> np.ndarray:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(photo))).convert("RGB")
        return processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0).astype(float)

    return pixels


@pytest.fixture(scope="module")
def scene():
    return factory.landscape(1000, 750, seed=7)


@pytest.mark.parametrize(
    "size",
    [(4128, 2322), (2250, 4000), (1797, 899), (897, 1793), (1001, 903), (450, 449), (9001, 903), (3, 5), (1, 700)],
)
def test_every_size_is_seen_as_clip_sees_the_full_photo(clip, scene, size):
    resized = scene.resize(size)
    for orientation in (1, 3, 6) if min(size) > 500 else (1, 8):
        photo = factory.with_orientation(resized, orientation)
        seen = resize_and_crop(open_photo(photo, shrink_to=224), 224)
        assert np.abs(seen - clip(photo)).mean() <= GREY_LEVELS, orientation


def test_a_photo_of_108_megapixels_is_decoded_at_an_eighth(scene):
    photo = factory.encoded(scene.convert("L").resize((12_000, 9_000)))
    opened = open_photo(photo, shrink_to=224)
    assert opened.size == (12_000, 9_000) and opened.image.size == (1_500, 1_125)
    with pytest.raises(PhotoError, match=r"photo: 12000 x 9000 pixels are too many .* save it as JPEG"):
        open_photo(factory.encoded(Image.new("1", (12_000, 9_000)), "PNG"))


def jpeg_in_tiff(scene) -> tuple[bytes, int]:
    """A TIFF of one JPEG strip, and where the height stands in its frame."""
    tiff = factory.encoded(scene, "TIFF", compression="jpeg", strip_size=scene.width * scene.height * 3)
    strip = Image.open(io.BytesIO(tiff)).tag_v2[273][0]
    return tiff, tiff.index(b"\xff\xc0", strip) + 5


def test_a_tiff_that_libtiff_would_fill_from_old_memory_is_refused(scene):
    tiff, height = jpeg_in_tiff(scene)
    assert open_photo(tiff).size == scene.size
    half = tiff[:height] + (300).to_bytes(2, "big") + tiff[height + 2 :]
    Image.open(io.BytesIO(half)).load()  # Pillow sees nothing wrong
    with pytest.raises(PhotoError, match="strip 1 of 1 is only partly there"):
        open_photo(half)
    fax = factory.encoded(scene.convert("1"), "TIFF", compression="group4")
    with pytest.raises(PhotoError, match=r"compression 4 .* save it as PNG"):
        open_photo(fax)
    lzw = factory.encoded(scene, "TIFF", compression="tiff_lzw")
    with pytest.raises(PhotoError, match=r"damaged TIFF|outside the file"):
        open_photo(lzw[: len(lzw) // 2])


def test_a_broken_exif_block_costs_nothing(scene, tmp_path):
    small = scene.resize((60, 40))
    small.save(tmp_path / "m.png", exif=b"Exif\0\0garbage!")
    np.testing.assert_array_equal(np.asarray(open_photo(tmp_path / "m.png").image), np.asarray(small))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "empty"),
        (bytes(500), "zero bytes"),
        (b"\0\0\0\x18ftypmp42" + bytes(40), "a film; save a still"),
        (b"\xff\x0a" + bytes(40), "JPEG XL.*save it as JPEG"),
        (b"8BPS" + bytes(40), "Photoshop"),
        (b"%PDF-1.7 " + bytes(40), "a PDF"),
        (b"\n <!DOCTYPE html><html>", "a web page.*download the photo itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\0\x05\x16\x07" + bytes(60), "Mac's note"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "damaged JPEG.*copy it again"),
        (b"hello, world " * 9, "text, not a photo"),
        (b"\x01\x02\x03garbage\xfe" * 9, "not a photo in a known format"),
    ],
)
def test_each_refusal_says_what_the_file_is(head, said):
    with pytest.raises(PhotoError, match=said) as caught:
        open_photo(head)
    assert "\n" not in str(caught.value) and caught.value.reason in str(caught.value)


def test_heic(scene, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    small = scene.resize((120, 90))
    photo = factory.encoded(small, "HEIF", quality=90, chroma=444)
    assert np.abs(np.asarray(open_photo(photo).image, float) - np.asarray(small, float)).mean() < 3
    monkeypatch.delitem(Image.OPEN, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where it is not installed
    with pytest.raises(PhotoError, match="HEIC, as phones store photos: install pillow-heif"):
        open_photo(photo)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000", "MPO"])
def test_other_formats_of_phones_and_cameras(scene, kind):
    assert open_photo(factory.encoded(scene.resize((300, 200)), kind)).size == (300, 200)


def test_a_folder_as_it_comes_from_a_phone_or_a_nas(tmp_path):
    for name in ("a.jpg", "b.JFIF", "c.avif", "d.jp2", "e.mpo", "._a.jpg", ".hidden.jpg", "f.mov", "g.MOV",
                 "Thumbs.db", "@eaDir/a.jpg", ".thumbnails/t.jpg", "real/h.png", "note"):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    outside = tmp_path.parent / f"{tmp_path.name}_outside"
    outside.mkdir()
    (outside / "i.jpg").write_bytes(b"")
    (tmp_path / "linked").symlink_to(outside)
    (outside / "back").symlink_to(tmp_path)  # a circle
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    photos, passed = scan_folder(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in photos] == [
        "a.jpg", "b.JFIF", "c.avif", "d.jp2", "e.mpo", "linked/i.jpg", "real/h.png",
    ]  # fmt: skip
    assert passed == {
        ".db files": 1, ".mov files": 2, "broken links and devices": 1, "files without a suffix": 1,
        "hidden files": 2, "hidden folders": 2, "linked folders that were seen already": 2,
    }  # fmt: skip
    assert passed_over({".mov files": 2, "hidden files": 1}) == "2 .mov files, 1 hidden file"


def test_heic_is_named_where_its_plugin_is_missing(tmp_path, monkeypatch):
    (tmp_path / "a.HEIC").write_bytes(b"")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert scan_folder(tmp_path) == ([], {"HEIC photos (pip install pillow-heif)": 1})


def test_what_is_optional_is_not_asked_for(root):
    """transformers asks for every package that a travelling file imports outside a `try`."""
    from transformers.dynamic_module_utils import get_imports

    for name in ("photos_geograph", "towers_geograph", "encoder_geograph", "files_geograph"):
        needed = {package for package in get_imports(root / f"{name}.py") if not package.endswith("_geograph")}
        always = {"numpy", "torch", "transformers", "huggingface_hub", "safetensors", "PIL"}
        assert needed <= always | sys.stdlib_module_names, name


def test_nothing_is_written_by_pillow(scene, capfd):
    odd = scene.resize((80, 60)).quantize(16)
    odd.info["transparency"] = bytes(range(16))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_photo(factory.encoded(odd, "PNG"))
        tiff = bytearray(factory.encoded(scene.resize((40, 30)), "TIFF"))
        tiff[-60:-50] = b"\xff" * 10
        for cut in (tiff, tiff[:-5]):
            with contextlib.suppress(PhotoError):
                open_photo(bytes(cut))
    assert not [w for w in caught if "PIL" in w.filename]
    assert capfd.readouterr().err == ""
