"""A CLIP vision tower as a function, by the fastest way that this machine has.

| machine | way |
| --- | --- |
| processor with bfloat16 units | `FusedTower` in bfloat16 |
| other processor | `OnnxTower` where onnxruntime is installed (`pip install onnx onnxruntime`), else `FusedTower` |
| accelerator | transformers' own |

Each way is compared with transformers' own on one picture when it is loaded: where it differs, or where a library has
changed, the plain one is taken, with a warning. docs/private_interfaces.md lists what could change.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F
from transformers.utils import logging

BF16_UNITS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")  # as torch.cpu calls them
# Least cosine to the plain tower's answer in float32, by precision.
ALIKE = {torch.float32: 0.99999, torch.float16: 0.999, torch.bfloat16: 0.999}
INLINE = 1024  # bytes: smaller weights are written into onnxruntime's graph
PATCH_LEVELS = 128  # pixels are centred there, which is exact in bfloat16
logger = logging.get_logger("transformers.geograph")

Forward = Callable[[torch.Tensor], torch.Tensor]


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the machine multiplies matrices in it, float16 on older accelerators, else float32."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return torch.bfloat16 if any(able.get(name) for name in BF16_UNITS) else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if device.type == "mps" else torch.float32


def make_forward(tower, scale: torch.Tensor, shift: torch.Tensor, device: torch.device, dtype: torch.dtype) -> Forward:
    """The tower as a function of uint8 pixels [B, 224, 224, 3] that gives vectors [B, 512] of this dtype.

    Args:
        tower: transformers' CLIPVisionModelWithProjection, float32, in evaluation mode.
        scale, shift: float32 [3]; pixel · scale + shift is what the tower takes.
    """
    plain = plain_forward(tower, scale, shift, device, dtype)
    if device.type != "cpu":
        return plain()
    for way in (OnnxTower, FusedTower) if dtype == torch.float32 else (FusedTower,):
        try:
            forward = way(tower, scale, shift, dtype)
        except ImportError:  # onnxruntime is not installed
            continue
        except (AttributeError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:150]
            logger.info(f"vision tower: {way.__name__} cannot be used here: {reason}")
            continue
        if is_alike(forward, tower, scale, shift, dtype):
            return forward
        logger.warning(
            f"vision tower: {way.__name__} differs from transformers' own tower with these versions of its libraries; "
            "the slower plain one is used"
        )
    return plain()


@torch.inference_mode()
def is_alike(forward: Forward, tower, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether a way gives what the plain tower gives, for one picture of noise."""
    size = tower.config.image_size
    pixels = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = tower(pixel_values=(pixels * scale + shift).permute(0, 3, 1, 2)).image_embeds.float()
    found = forward(pixels).float()
    ratio = (found.norm() / expected.norm()).item()
    return F.cosine_similarity(found, expected).item() >= ALIKE[dtype] and abs(ratio - 1) < 0.02


def plain_forward(tower, scale, shift, device: torch.device, dtype: torch.dtype) -> Callable[[], Forward]:
    """Makes transformers' own tower the function, when called: it changes the tower."""

    def make() -> Forward:
        moved = tower.to(device, dtype)
        by, plus = (x.to(device)[:, None, None] for x in (scale, shift))

        def forward(pixels: torch.Tensor) -> torch.Tensor:
            values = pixels.to(device).permute(0, 3, 1, 2) * by + plus
            return moved(pixel_values=values.to(dtype)).image_embeds

        return forward

    return make


def patch_weights(tower, scale: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The patch embedding over uint8 pixels less 128, normalisation and positions included.

    Returns weight [out, patch · patch · 3], a patch's values lying as [row, column, colour], and positions
    [1 + patches, out], the class token's first.
    """
    embeddings = tower.vision_model.embeddings
    weight = embeddings.patch_embedding.weight.permute(0, 2, 3, 1)
    position = embeddings.position_embedding.weight
    bias = (weight * (PATCH_LEVELS * scale + shift)).sum((1, 2, 3)) + position[1:]
    flat = (weight * scale).reshape(embeddings.embed_dim, -1)
    return flat, torch.cat([embeddings.class_embedding[None] + position[:1], bias])


class OnnxTower:
    """The tower in onnxruntime, float32: its products are faster than oneDNN's where there is no bfloat16.

    The graph is written here, a few lines a layer, and takes the weights from the tower's own memory, so nothing is
    exported to a file that could grow old. Of the last layer only the class token is computed. Safe to call from
    several threads at once; each call runs on one.
    """

    def __init__(self, tower, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype):
        try:  # outside one, transformers would ask for these packages before it loads any file of the model
            import onnx
            import onnxruntime
        except ImportError:
            raise

        if tower.config.hidden_act != "quick_gelu" or dtype != torch.float32:
            raise NotImplementedError(f"{tower.config.hidden_act} in {dtype}")
        self.patch, self.grid = tower.config.patch_size, tower.config.image_size // tower.config.patch_size
        self._weights: dict[str, np.ndarray] = {}
        self._nodes: list = []
        self._onnx = onnx
        with torch.no_grad():
            self._write(tower, scale, shift)
        graph = onnx.helper.make_graph(
            self._nodes,
            "tower",
            [onnx.helper.make_tensor_value_info("patches", onnx.TensorProto.UINT8, ["batch", self.grid**2 + 1, None])],
            [onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["batch", None])],
            [self._declared(name, value) for name, value in self._weights.items()],
        )
        versions = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("com.microsoft", 1)]
        model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=9)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        large = {name: value for name, value in self._weights.items() if value.nbytes > INLINE}
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in large.values()]
        options.add_external_initializers(list(large), values)
        self._kept = large, values  # onnxruntime looks at this memory and does not own it
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        del self._weights, self._nodes, self._onnx

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        batch, patch, grid = len(pixels), self.patch, self.grid
        patches = np.full((batch, grid**2 + 1, patch * patch * 3), PATCH_LEVELS, np.uint8)  # the class token's is zero
        parts = pixels.numpy().reshape(batch, grid, patch, grid, patch, 3).transpose(0, 1, 3, 2, 4, 5)
        patches[:, 1:] = parts.reshape(batch, grid**2, -1)
        return torch.from_numpy(self._session.run(None, {"patches": patches})[0])

    def _declared(self, name: str, value: np.ndarray):
        """An initializer without its values, which are handed over in memory; small ones as they are."""
        if value.nbytes <= INLINE:
            return self._onnx.numpy_helper.from_array(value, name)
        kind = self._onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor = self._onnx.TensorProto(name=name, data_type=kind, dims=value.shape)
        tensor.data_location = self._onnx.TensorProto.EXTERNAL
        for key, text in (("location", "memory"), ("offset", "0"), ("length", str(value.nbytes))):
            tensor.external_data.add(key=key, value=text)
        return tensor

    def _weight(self, name: str, value: torch.Tensor) -> str:
        self._weights[name] = np.ascontiguousarray(value.detach().numpy())
        return name

    def _node(self, kind: str, inputs: list[str], outputs: int | list[str] = 1, domain: str = "", **settings) -> str:
        names = outputs if isinstance(outputs, list) else [f"{kind}_{len(self._nodes)}"]
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, names, domain=domain, **settings))
        return names[0]

    def _linear(self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor | None = None) -> str:
        x = self._node("MatMul", [x, self._weight(f"{name}.weight", weight.T)])
        return x if bias is None else self._node("Add", [x, self._weight(f"{name}.bias", bias)])

    def _norm(self, x: str, name: str, norm) -> str:
        weights = [self._weight(f"{name}.weight", norm.weight), self._weight(f"{name}.bias", norm.bias)]
        return self._node("LayerNormalization", [x, *weights], axis=-1, epsilon=norm.eps)

    def _add_and_norm(self, x: str, residual: str, bias: torch.Tensor, name: str, norm) -> tuple[str, str]:
        """Layer normalisation of x + bias + residual, and that sum."""
        weights = [self._weight(f"{name}.{part}", value) for part, value in
                   (("weight", norm.weight), ("bias", norm.bias), ("added", bias))]  # fmt: skip
        outputs = [f"{name}.normed", "", "", f"{name}.sum"]
        self._node(
            "SkipLayerNormalization", [x, residual, *weights], outputs, domain="com.microsoft", epsilon=norm.eps
        )
        return outputs[0], outputs[3]

    def _write(self, tower, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """The graph: patches uint8 [B, 1 + 49, 3072] → vectors float32 [B, 512]."""
        vision = tower.vision_model
        weight, positions = patch_weights(tower, scale, shift)
        x = self._node("Cast", ["patches"], to=self._onnx.TensorProto.FLOAT)
        level = self._weight("level", torch.tensor(float(PATCH_LEVELS)))
        x = self._linear(self._node("Sub", [x, level]), "patch", weight, positions)
        x = self._norm(x, "before", vision.pre_layrnorm)
        layers = vision.encoder.layers
        normed = self._norm(x, "first", layers[0].layer_norm1)
        for i, layer in enumerate(layers):
            attention, mlp, last = layer.self_attn, layer.mlp, i == len(layers) - 1
            parts = {}
            for part in ("k_proj", "v_proj", "q_proj"):
                if last and part == "q_proj":  # from here on only the class token is needed
                    normed, x = (self._first_token(name) for name in (normed, x))
                module = getattr(attention, part)
                parts[part] = self._linear(normed, f"{i}.{part}", module.weight, module.bias)
            mixed = self._node(
                "MultiHeadAttention", [parts["q_proj"], parts["k_proj"], parts["v_proj"]], domain="com.microsoft",
                num_heads=attention.num_heads, scale=attention.scale,
            )  # fmt: skip
            mixed = self._linear(mixed, f"{i}.out", attention.out_proj.weight)
            normed, x = self._add_and_norm(mixed, x, attention.out_proj.bias, f"{i}.norm2", layer.layer_norm2)
            wide = self._linear(normed, f"{i}.fc1", mlp.fc1.weight, mlp.fc1.bias)
            wide = self._node("QuickGelu", [wide], domain="com.microsoft", alpha=1.702)
            narrow = self._linear(wide, f"{i}.fc2", mlp.fc2.weight)
            following = vision.post_layernorm if last else layers[i + 1].layer_norm1
            normed, x = self._add_and_norm(narrow, x, mlp.fc2.bias, f"{i}.next", following)
        vectors = self._linear(normed, "projection", tower.visual_projection.weight)
        axis = self._weight("axis", torch.tensor([1]))
        self._node("Squeeze", [vectors, axis], ["vectors"])

    def _first_token(self, x: str) -> str:
        bounds = [self._weight(f"token.{name}", torch.tensor([value])) for name, value in
                  (("start", 0), ("end", 1), ("axis", 1))]  # fmt: skip
        return self._node("Slice", [x, *bounds])


class FusedTower:
    """A CLIP vision tower on a CPU, computing what transformers' does in fewer and larger steps.

    Weights are packed once as oneDNN wants them; query, key and value are one product; bias, activation and residual
    happen inside the products; pixels are normalised by the patch embedding; the last layer computes one row.
    """

    def __init__(self, tower, scale: torch.Tensor, shift: torch.Tensor, dtype: torch.dtype):
        if tower.config.hidden_act != "quick_gelu" or not torch.backends.mkldnn.is_available():
            raise NotImplementedError(f"{tower.config.hidden_act} without oneDNN's swish")
        vision, self.dtype = tower.vision_model, dtype
        embeddings, first = vision.embeddings, vision.encoder.layers[0].self_attn
        self.heads, self.patch = first.num_heads, embeddings.patch_size
        with torch.no_grad():
            weight, positions = patch_weights(tower, scale, shift)
            self.patches, self.positions = self._pack(weight, None)[0], positions.to(dtype)
            self.before, self.after = self._norm(vision.pre_layrnorm), self._norm(vision.post_layernorm)
            self.layers = [self._layer(layer) for layer in vision.encoder.layers]
            self.projection = self._pack(tower.visual_projection.weight, None)
            self(torch.zeros(1, *[embeddings.image_size] * 2, 3, dtype=torch.uint8))  # whether this machine can

    def _pack(self, weight: torch.Tensor, bias: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(self.dtype).contiguous())
        return packed, None if bias is None else bias.to(self.dtype)

    def _norm(self, norm) -> tuple:
        return norm.normalized_shape, norm.weight.detach().to(self.dtype), norm.bias.detach().to(self.dtype), norm.eps

    def _layer(self, layer) -> tuple:
        attention, mlp = layer.self_attn, layer.mlp
        # The scores' scale goes into the query: a power of two, so nothing is rounded.
        parts = [(attention.q_proj, attention.scale), (attention.k_proj, 1), (attention.v_proj, 1)]
        return (
            self._norm(layer.layer_norm1),
            self._pack(torch.cat([p.weight * by for p, by in parts]), torch.cat([p.bias * by for p, by in parts])),
            self._pack(attention.out_proj.weight, attention.out_proj.bias),
            self._norm(layer.layer_norm2),
            # quick_gelu(x) = x · sigmoid(1.702 x) = swish(1.702 x) / 1.702, and oneDNN fuses swish.
            self._pack(mlp.fc1.weight * 1.702, mlp.fc1.bias * 1.702),
            self._pack(mlp.fc2.weight / 1.702, mlp.fc2.bias),
        )

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        batch, patch, grid = len(pixels), self.patch, pixels.shape[1] // self.patch
        x = pixels.view(batch, grid, patch, grid, patch, 3).transpose(2, 3).reshape(batch * grid**2, -1)
        x = _linear(x.to(self.dtype) - PATCH_LEVELS, (self.patches, None)).view(batch, grid**2, -1)
        x = torch.cat([x.new_zeros(batch, 1, x.shape[2]), x], 1) + self.positions
        _, tokens, width = x.shape
        x = F.layer_norm(x, *self.before).view(batch * tokens, width)
        for norm1, qkv, out, norm2, wide, narrow in self.layers:
            parts = _linear(F.layer_norm(x, *norm1), qkv).view(batch, tokens, 3, self.heads, -1)
            query, key, value = parts.permute(2, 0, 3, 1, 4).reshape(3, batch * self.heads, tokens, -1)
            if norm1 is self.layers[-1][0]:  # only the class token leaves the last layer
                query, x = query[:, :1], x.view(batch, tokens, width)[:, 0].contiguous()
            # For 50 tokens two plain products take two thirds of scaled_dot_product_attention's time.
            mixed = torch.bmm(torch.bmm(query, key.transpose(1, 2)).softmax(-1), value)
            mixed = mixed.view(batch, self.heads, -1, width // self.heads).transpose(1, 2).reshape(-1, width)
            x = _linear(mixed, out, add=x)
            x = _linear(_linear(F.layer_norm(x, *norm2), wide, "swish"), narrow, add=x)
        return _linear(F.layer_norm(x, *self.after), self.projection)


def _linear(x, weight_and_bias, activation: str = "none", add: torch.Tensor | None = None) -> torch.Tensor:
    if add is not None:
        return torch.ops.mkldnn._linear_pointwise.binary(x, add, *weight_and_bias, "add")
    return torch.ops.mkldnn._linear_pointwise(x, *weight_and_bias, activation, [], "")
