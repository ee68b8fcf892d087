"""The seven labels, in FER2013's order, and their three groups: the only list of them."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Index in the model's output -> label. Source: FER2013, Goodfellow et al. 2013, arXiv:1307.0414."""

GROUPS = {
    "pleasant": ("happy", "surprise"),
    "neutral": ("neutral",),
    "unpleasant": ("angry", "disgust", "fear", "sad"),
}
"""What a network tells apart far better than seven labels; every label belongs to one group."""
