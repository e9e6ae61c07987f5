"""From trained students to a model repository: ONNX, parity, configurations, cards."""
