"""Drawn inputs and a model's answers to them, kept in its card: a check that needs no data set and shows no face."""

import argparse
import json
from pathlib import Path

import numpy as np

from contract.card import INPUT_SIZE
from edge.config import RuntimeConfig
from edge.vision.classifier import EmotionClassifier

AGREES_WITHIN = 0.1
"""Of a probability, whatever runtime and processor; the two runtimes of the design differ by 0.073 here, and on FER2013
by 0.066 or less for 99 of 100 faces."""


def pictures() -> np.ndarray:
    """(16, 48, 48) uint8: ramps, stripes, and masks of light ovals with dark eyes and mouths. Whole numbers only."""
    y, x = np.mgrid[:INPUT_SIZE, :INPUT_SIZE]
    drawn = [x * 255 // 47, y * 255 // 47, (x // 6 + y // 6) % 2 * 200 + 30, (x + y) * 255 // 94]
    for number in range(12):
        tall, smile, open_px = 18 + number % 3, number % 4 - 2, number % 5
        face = np.where((x - 24) ** 2 * tall**2 + (y - 24) ** 2 * 256 < (16 * tall) ** 2, 150 + 8 * number, 40)
        for eye in (16, 32):
            face = np.where((x - eye) ** 2 + (y - 18) ** 2 < 6 + open_px, 30, face)
        mouth = 34 - smile * (x - 24) ** 2 // 24
        drawn.append(np.where((abs(x - 24) < 9) & (abs(y - mouth) <= 1 + open_px // 2), 50, face))
    stacked: np.ndarray = np.stack(drawn).astype(np.uint8)
    return stacked


def answers(classifier: EmotionClassifier) -> list[list[float]]:
    """Probabilities, one row per picture, to four decimals."""
    rows: list[list[float]] = np.round(classifier.probabilities(pictures()).astype(float), 4).tolist()
    return rows


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `golden`."""
    parser.add_argument("model", type=Path, help="the .tflite file; its card lies beside it")
    parser.add_argument("--runtime", default="", help="tflite_runtime or ai_edge_litert, where both are installed")


def run(arguments: argparse.Namespace) -> int:
    """Print the answers as JSON."""
    print(json.dumps(answers(EmotionClassifier(arguments.model, RuntimeConfig(package=arguments.runtime)))))
    return 0
