"""A CLIP vision tower of random weights in a folder, for tests and benchmarks: the real tower cannot travel with us.

.venv/bin/python tests/support/tiny_tower.py FOLDER [--real_size]
"""

import argparse
from pathlib import Path

import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
# openai/clip-vit-base-patch32, whose remaining settings are CLIPVisionConfig's defaults.
VIT_B_32 = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def make_tiny_tower(folder: str | Path, seed: int = 0, real_size: bool = False) -> Path:
    """Saves a random `CLIPVisionModelWithProjection` (projection_dim=512) with its `CLIPImageProcessor`.

    Args:
        folder: where to; made if need be.
        seed: of the weights, which are the same on every machine. torch's own generator is left as it was.
        real_size: the shape of ViT-B/32 (350 MB, slow to make) instead of one of 64 wide and 2 deep.
    """
    folder = Path(folder)
    config = CLIPVisionConfig(**(VIT_B_32 if real_size else TINY), projection_dim=512, patch_size=32, image_size=224)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = CLIPVisionModelWithProjection(config).eval()
        # Fresh CLIP weights are so small that each photo gives nearly the same vector, and any mistake goes unseen:
        # these spread as trained ones do. Biases are zero in a fresh tower, which would hide a forgotten one.
        with torch.no_grad():
            for name, parameter in tower.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.1)
                elif parameter.ndim >= 2:
                    fan_in = parameter[0].numel() if "position_embedding" not in name else 1
                    parameter.normal_(std=fan_in**-0.5)
    tower.save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--real_size", action="store_true")
    flags = parser.parse_args()
    print(make_tiny_tower(flags.folder, real_size=flags.real_size))
