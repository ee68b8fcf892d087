"""From labelled faces to a Keras model. Only this folder and convert/ may import keras or tensorflow."""
