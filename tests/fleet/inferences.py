"""Classify one face so many times: `python -m tests.fleet.inferences NUMBER`."""

import sys
from pathlib import Path

import numpy as np

from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier

classifier = EmotionClassifier(Path("models/emotion_int8.tflite"), RuntimeConfig())
face = np.full((1, 48, 48), 128, np.uint8)
for _ in range(int(sys.argv[1])):
    classifier.probabilities(face)
