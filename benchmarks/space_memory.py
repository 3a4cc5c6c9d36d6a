"""Does the Space keep memory? Calls its API many times, each a visitor of its own, and reads the process's size.

    python -m benchmarks.space_memory --model DIR [--vision_model DIR] [--calls 5000]

Half of the calls send a photo, half a ready embedding. Prints the resident size every 500 calls, and the growth a call
over the second half: the first half fills caches and lets the allocator settle.
"""

import argparse
import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

EVERY = 500
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--vision_model")
    parser.add_argument("--calls", type=int, default=5000)
    flags = parser.parse_args()
    process, address = start(flags.model, flags.vision_model)
    try:
        sizes = measure(address, process.pid, flags.calls)
    finally:
        process.terminate()
        process.wait(timeout=60)
    half = len(sizes) // 2
    grown = (sizes[-1] - sizes[half]) / (EVERY * max(len(sizes) - 1 - half, 1))
    print(f"growth a call over the second half: {1024 * grown:.2f} KiB")


def start(model: str, vision_model: str | None) -> tuple[subprocess.Popen, str]:
    """The Space in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tower = ["--vision_model", vision_model] if vision_model else []
    process = subprocess.Popen([sys.executable, ROOT / "app.py", "--model", model, *tower, "--port", str(port)])
    address = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            httpx.get(address, timeout=5)
            return process, address
        except httpx.HTTPError:
            time.sleep(0.5)
    sys.exit("app.py ended")


def measure(address: str, pid: int, calls: int) -> list[float]:
    """The process's size in MiB, after no call and after each 500."""
    random = np.random.default_rng(0)
    sizes = [size_of(pid)]
    print(f"{0:6,} calls: {sizes[0]:8.1f} MiB", flush=True)
    with httpx.Client(base_url=f"{address}/gradio_api", timeout=60) as client:
        for call in range(1, calls + 1):
            name, values = a_photo(client, random) if call % 2 else ("classify_embedding", [a_row(random)])
            ask(client, name, values)
            if call % EVERY == 0:
                sizes.append(size_of(pid))
                print(f"{call:6,} calls: {sizes[-1]:8.1f} MiB", flush=True)
    return sizes


def ask(client: httpx.Client, name: str, values: list) -> None:
    """One call as programs make it: a question, then its answer."""
    event = client.post(f"/call/{name}", json={"data": values}).raise_for_status().json()["event_id"]
    answer = client.get(f"/call/{name}/{event}").raise_for_status().text
    assert '"types"' in answer, answer


def a_photo(client: httpx.Client, random: np.random.Generator) -> tuple[str, list]:
    file = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (120, 160, 3), np.uint8)).save(file, "JPEG")
    (path,) = client.post("/upload", files={"files": ("photo.jpg", file.getvalue())}).raise_for_status().json()
    return "classify", [{"path": path, "meta": {"_type": "gradio.FileData"}}, "16"]


def a_row(random: np.random.Generator) -> str:
    vector = random.standard_normal(512).astype("<f4")
    return json.dumps({"embeddings": base64.b64encode(vector.tobytes()).decode(), "distance": "16"})


def size_of(pid: int) -> float:
    """Resident memory of a process, MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


if __name__ == "__main__":
    main()
