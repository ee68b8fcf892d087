"""From a Keras model to a full-int8 .tflite and its card, verified by the device's own code."""
