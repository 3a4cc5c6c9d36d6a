"""Photos per second from files to vectors, against the plain way and against what the machine's matrix units allow.

    .venv/bin/python -m benchmarks.encode [--photos 256] [--pairs 5]

The tower has the real size (ViT-B/32) and random weights. The plain way is transformers' documentation: one photo at
a time in float32. Ours and the plain way take turns; the ratio is the median over the pairs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

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


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=256)
    parser.add_argument("--plain_photos", type=int, default=32, help="how many of them the plain way takes a turn")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--dtype", default="auto")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tower_dir = make_tiny_tower(Path(folder) / "tower", real_size=True)
        (Path(folder) / "photos").mkdir()
        make_photos(Path(folder) / "photos", flags.photos)
        measure(tower_dir, list_photos(Path(folder) / "photos"), flags)


def measure(tower_dir: Path, photos: list[Path], flags: argparse.Namespace):
    tower = CLIPVisionModelWithProjection.from_pretrained(tower_dir).eval()
    processor = CLIPImageProcessorPil.from_pretrained(tower_dir)
    encoder = GeographEncoder.from_pretrained(tower_dir, device="cpu", dtype=flags.dtype)
    plain_photos, batch = photos[: flags.plain_photos], 32

    def plain():
        images = (Image.open(path).convert("RGB") for path in plain_photos)
        return [tower(**processor(image, return_tensors="pt")).image_embeds[0].numpy() for image in images]

    def ours():
        return list(encoder.encode(photos, flags.batch_size))

    pixels = torch.from_numpy(np.stack([encoder.pixels(path) for path in photos[:batch]]))
    multiply = matmul_limit(encoder.dtype, batch)
    reference, vectors = np.stack(plain()), np.stack(ours())[: len(plain_photos)]
    cosine = (reference * vectors).sum(1) / np.linalg.norm(reference, axis=1) / np.linalg.norm(vectors, axis=1)
    unit = reference / np.linalg.norm(reference, axis=1, keepdims=True)
    jobs = {
        "plain": (plain, len(plain_photos)),
        "ours": (ours, len(photos)),
        "forward": (lambda: encoder._forward(pixels), batch),
        "matmul": (multiply, batch),
        "decode": (lambda: [encoder.pixels(path) for path in photos], len(photos)),
    }
    turns = [{name: rate(*job) for name, job in jobs.items()} for _ in range(flags.pairs)]
    clock, core = ({name: statistics.median(turn[name][i] for turn in turns) for name in jobs} for i in (0, 1))
    cores = torch.get_num_threads()
    ratios = [turn["ours"][0] / turn["plain"][0] for turn in turns]
    print(f"{len(photos)} photos, {flags.pairs} turns, {cores} threads, {encoder.dtype}; photos/s by the clock")
    print(f"{'one at a time, float32':34}{clock['plain']:8.1f}")
    print(f"{'ours, files to vectors':34}{clock['ours']:8.1f}")
    print(f"{'forward alone, batch 32':34}{clock['forward']:8.1f}")
    print(f"{'matrix products alone':34}{clock['matmul']:8.1f}")
    print(f"{'decoding alone, one thread':34}{clock['decode']:8.1f}")
    print(
        f"ours : one at a time  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; target 3.5)"
    )
    print(f"ours : matrix products  {statistics.median(t['ours'][0] / t['matmul'][0] for t in turns):.2f} (goal 0.5)")
    print("the same per core's work, which a busy machine disturbs less:")
    print(f"ours : one at a time  {core['ours'] / core['plain']:.2f}")
    print(f"ours : matrix products  {core['ours'] / core['matmul']:.2f}")
    print(f"decoding's share of ours  {core['ours'] / core['decode']:.0%}")
    print(f"least cosine to one at a time  {cosine.min():.6f} (least between two photos {(unit @ unit.T).min():.3f})")


if __name__ == "__main__":
    main()
