"""An ONNX graph written node by node: what onnx.helper asks for, less its repetitions."""

import json
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# LayerNormalization is there from 17 on, and readers of 2022 know both.
OPSET, IR_VERSION = 17, 8


class Graph:
    """Collects nodes and weights; `node` gives the name of what a node computes."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def weight(self, name: str, value: Any) -> str:
        """A constant by its name; the same name is the same constant."""
        self.weights[name] = np.asarray(value, order="C")  # ascontiguousarray would make a number a list
        return name

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def linear(self, value: str, name: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        """value [..., in] → [..., out], with a weight [out, in] as torch holds it."""
        product = self.node("MatMul", [value, self.weight(f"{name}.weight", weight.T)])
        return product if bias is None else self.node("Add", [product, self.weight(f"{name}.bias", bias)])

    def norm(self, value: str, name: str, module: Any) -> str:
        """Layer normalisation over the last axis."""
        scale, shift = (self.weight(f"{name}.{part}", to_numpy(getattr(module, part))) for part in ("weight", "bias"))
        return self.node("LayerNormalization", [value, scale, shift], epsilon=module.eps)

    def reshape(self, value: str, shape: list[int]) -> str:
        name = "shape_" + "_".join(str(size).replace("-", "m") for size in shape)
        return self.node("Reshape", [value, self.weight(name, np.array(shape, np.int64))])

    def model(self, inputs: dict[str, tuple], outputs: dict[str, tuple], metadata: dict[str, Any]) -> onnx.ModelProto:
        """The checked model. inputs, outputs: name → (numpy type, shape), "B" a free batch."""

        def described(values: dict[str, tuple]) -> list[onnx.ValueInfoProto]:
            return [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
                for name, (kind, shape) in values.items()
            ]

        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "geograph_types", described(inputs), described(outputs), weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "geograph-types"
        helper.set_model_props(
            model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
        )
        onnx.checker.check_model(model)
        return model


def to_numpy(tensor) -> np.ndarray:
    """A weight in float32."""
    return tensor.detach().float().cpu().numpy()
