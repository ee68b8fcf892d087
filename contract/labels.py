"""The seven labels, in FER2013's order: the only list of them."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Index in the model's output -> label. Source: FER2013, Goodfellow et al. 2013, arXiv:1307.0414."""
