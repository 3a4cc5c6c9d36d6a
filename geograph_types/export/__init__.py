"""The model for those who run none of this code: ONNX graphs and the site's JSON."""
