"""Write pictures of a class into a folder: `pictures.py FOLDER [pi]`. Runs in .venv, which has the faces.

With `pi` they are as large as the main stream of a Pi's camera, not as the detector's picture.
"""

import sys
from itertools import islice
from pathlib import Path

import cv2

from demo.scene import lesson
from edge.config import CameraConfig

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for number, picture in enumerate(islice(lesson(rate_hz=0.5), 8)):
    image = cv2.resize(picture, CameraConfig("pi").size) if "pi" in sys.argv[2:] else picture
    cv2.imwrite(str(folder / f"{number:02d}.jpg"), image)
