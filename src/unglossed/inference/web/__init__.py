"""A trained model as a page that needs no server: networks as ONNX, tokens, and what runs them."""
