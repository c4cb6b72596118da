"""The Open Inference Protocol and TensorFlow Serving, on the same port and predictor."""
