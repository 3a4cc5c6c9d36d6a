"""Photos per second from files to vectors: ours, the plain ways, other libraries, and what the matrix units allow.

    .venv/bin/python -m benchmarks.encode [--photos 256] [--turns 5] [--dtype auto] [--int8]

The tower has the real size (ViT-B/32) and random weights. All ways take turns in every run: one photo at a time and
batches as transformers' documentation writes them, in float32; onnxruntime and OpenVINO, where they are installed, on
torch's own export of the same tower, each with all cores; ours. Everything starts from files, except the lines that
say otherwise. `--int8` adds onnxruntime with 8-bit weights: how alike its vectors are, and how many answers change.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.measuring import note
from encoder_geograph import GeographEncoder
from photos_geograph import list_photos
from tests.support.photo_factory import encoded, landscape
from tests.support.tiny_tower import make_tiny_tower

TOKENS = 50  # 49 patches and the class token
# rows a photo, in, out, how often: every product of ViT-B/32 with a weight matrix
PRODUCTS = [(49, 3072, 768, 1), (TOKENS, 768, 2304, 12), (TOKENS, 768, 768, 12)]
PRODUCTS += [(TOKENS, 768, 3072, 12), (TOKENS, 3072, 768, 12), (1, 768, 512, 1)]


def make_photos(folder: Path, count: int):
    """Seven in eight as Geograph shows them, 640 x 480; the eighth as a contributor's camera made it."""
    kinds = [encoded(landscape(640, 480, seed)) for seed in range(min(count, 28))]
    kinds += [encoded(landscape(2048, 1536, 1000 + seed)) for seed in range(4)]
    for i in range(count):
        data = kinds[-1 - (i // 8) % 4] if i % 8 == 7 else kinds[i % (len(kinds) - 4)]
        (folder / f"{i:05d}.jpg").write_bytes(data)


def rate(work: Callable[[], object], count: int) -> tuple[float, float]:
    """(photos a second by the clock, photos a second of one core's work)."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return count / (time.perf_counter() - clock), count / (time.process_time() - cpu)


def matmul_limit(dtype: torch.dtype, batch: int = 32) -> Callable[[], None]:
    """The tower's matrix products alone, weights packed as oneDNN likes them, as one call for `batch` photos."""
    work = []
    for rows, width_in, width_out, times in PRODUCTS:
        packed = torch.ops.mkldnn._reorder_linear_weight(torch.randn(width_out, width_in, dtype=dtype))
        work.append((torch.randn(rows * batch, width_in, dtype=dtype), packed, times))

    def multiply():
        for x, packed, times in work:
            for _ in range(times):
                torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")

    return multiply


def batches(photos: list[Path], processor, size: int):
    """Pixels [size, 3, 224, 224] as transformers' processor makes them."""
    for start in range(0, len(photos), size):
        images = [Image.open(path).convert("RGB") for path in photos[start : start + size]]
        yield processor(images, return_tensors="pt")["pixel_values"]


def exported(tower, folder: Path) -> Path:
    """torch's own export of the tower: what onnxruntime and OpenVINO are given."""

    class Vectors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = tower

        def forward(self, pixels):
            return self.tower(pixel_values=pixels).image_embeds

    path = folder / "tower.onnx"
    warnings.filterwarnings("ignore")  # the tracer doubts what is constant here
    torch.onnx.export(
        Vectors(), (torch.zeros(2, 3, 224, 224),), str(path), input_names=["pixels"], output_names=["vectors"],
        dynamic_axes={"pixels": {0: "batch"}}, dynamo=False,
    )  # fmt: skip
    return path


def other_libraries(tower, folder: Path, int8: bool) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Name → pixels [B, 3, 224, 224] to vectors [B, 512], for each library that is installed."""
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    try:
        import onnxruntime

        path = exported(tower, folder)
    except ImportError as error:
        print(f"without onnxruntime and OpenVINO: {error}")
        return found
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found["onnxruntime"] = lambda pixels: session.run(None, {"pixels": pixels})[0]
    with contextlib.suppress(ImportError):
        import openvino

        compiled = openvino.compile_model(str(path), "CPU")
        found["OpenVINO"] = lambda pixels: compiled({"pixels": pixels})[0]
    if int8:
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(path, folder / "int8.onnx", op_types_to_quantize=["MatMul"])
        small = onnxruntime.InferenceSession(str(folder / "int8.onnx"), providers=["CPUExecutionProvider"])
        found["onnxruntime, int8"] = lambda pixels: small.run(None, {"pixels": pixels})[0]
    return found


def cosines(vectors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1)
    return (vectors * reference).sum(1) / length


def changed_answers(vectors: np.ndarray, reference: np.ndarray) -> float:
    """Share of photos whose best type differs, by a classifier of random weights scaled to the vectors."""
    from configuration_geograph import GeographConfig
    from modeling_geograph import GeographModel

    torch.manual_seed(0)
    model = GeographModel(GeographConfig()).eval()
    unknown = torch.full((len(vectors),), model.config.num_distance_buckets - 1)
    best = [model(torch.from_numpy(x), unknown).logits.argmax(1).numpy() for x in (vectors, reference)]
    return float((best[0] != best[1]).mean())


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--slow_photos", type=int, default=64, help="how many of them the slower ways take a turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--int8", action="store_true", help="also 8-bit weights, with what they cost")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tower_dir = make_tiny_tower(Path(folder) / "tower", real_size=True)
        (Path(folder) / "photos").mkdir()
        make_photos(Path(folder) / "photos", flags.photos)
        measure(tower_dir, list_photos(Path(folder) / "photos"), flags)


def measure(tower_dir: Path, photos: list[Path], flags: argparse.Namespace):
    tower = CLIPVisionModelWithProjection.from_pretrained(tower_dir, dtype=torch.float32).eval()
    processor = CLIPImageProcessorPil.from_pretrained(tower_dir)
    encoder = GeographEncoder.from_pretrained(tower_dir, device="cpu", dtype=flags.dtype)
    few, size = photos[: flags.slow_photos], flags.batch_size
    seen = torch.from_numpy(np.stack([encoder.pixels(path) for path in photos[:size]]))

    def one_at_a_time():
        return np.concatenate(
            [tower(pixel_values=pixels).image_embeds.numpy() for pixels in batches(few, processor, 1)]
        )

    def plain_batch():
        return np.concatenate([tower(pixel_values=p).image_embeds.numpy() for p in batches(few, processor, size)])

    def with_library(run):
        return lambda: np.concatenate([run(pixels.numpy()) for pixels in batches(few, processor, size)])

    ways = {"one at a time": one_at_a_time, f"plain batch of {size}": plain_batch}
    for name, run in other_libraries(tower, tower_dir.parent, flags.int8).items():
        ways[name] = with_library(run)
    ways["ours"] = lambda: np.stack(list(encoder.encode(photos, size)))
    vectors = {name: work()[: len(few)] for name, work in ways.items()}
    jobs = {name: (work, len(photos) if name == "ours" else len(few)) for name, work in ways.items()}
    jobs["ours, forward only"] = (forward_on_all_cores(encoder, seen), size * torch.get_num_threads())
    jobs["matrix products, oneDNN"] = (matmul_limit(encoder.dtype, size), size)
    jobs["decoding only, one core"] = (lambda: [encoder.pixels(path) for path in few], len(few))
    turns = [{name: rate(*job)[0] for name, job in jobs.items()} for _ in range(flags.turns)]
    report(turns, vectors, encoder, flags)


def forward_on_all_cores(encoder: GeographEncoder, pixels: torch.Tensor) -> Callable[[], object]:
    """As `encode` does it: each core has a batch of its own."""
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(cores)

    def one(_):
        torch.set_num_threads(1)
        with torch.inference_mode():
            return encoder._forward(pixels)

    def all_cores():
        found = list(pool.map(one, range(cores)))
        torch.set_num_threads(cores)
        return found

    return all_cores


def report(turns: list[dict[str, float]], vectors: dict[str, np.ndarray], encoder, flags: argparse.Namespace):
    way = getattr(encoder._forward, "__name__", type(encoder._forward).__name__)
    print(
        f"{flags.photos} photos, {len(turns)} turns, {torch.get_num_threads()} threads; ours: {encoder.dtype}, {way}"
    )
    print(f"{'photos a second':34}{'median':>8}{'least':>8}{'most':>8}{'to products':>13}{'least cosine':>14}")
    for name in turns[0]:
        rates = [turn[name] for turn in turns]
        share = statistics.median(turn[name] / turn["matrix products, oneDNN"] for turn in turns)
        alike = f"{cosines(vectors[name], vectors['one at a time']).min():14.6f}" if name in vectors else ""
        print(f"{name:34}{statistics.median(rates):8.1f}{min(rates):8.1f}{max(rates):8.1f}{share:13.2f}{alike}")
    print("goals without bfloat16 units: forward 0.95 of the matrix products, ours 0.85")
    if flags.int8 and "onnxruntime, int8" in vectors:
        share = changed_answers(vectors["onnxruntime, int8"], vectors["one at a time"])
        print(f"int8: best type changes for {share:.1%} of photos, by a classifier of random weights")
    for name in turns[0]:
        note(f"photos, {name}", [turn[name] for turn in turns], "photos/s")
    for name, goal in (("ours", "≥ 0.85"), ("ours, forward only", "≥ 0.95")):
        shares = [turn[name] / turn["matrix products, oneDNN"] for turn in turns]
        note(f"photos, {name}, to the limit of matrix products", shares, goal=goal, dtype=str(encoder.dtype))


if __name__ == "__main__":
    main()
