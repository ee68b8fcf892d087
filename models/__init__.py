"""The model that ships, with its card: data of the package, so that an installed program has them without a clone.

Everything else here stays in the repository. Imports nothing of ours.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
EMOTION = FOLDER / "emotion_int8.tflite"
"""Its card lies beside it, with the ending .json."""
