"""Write pictures of a class into a folder: `pictures.py FOLDER`. Runs in .venv, which has the demonstration's faces."""

import sys
from itertools import islice
from pathlib import Path

import cv2

from demo.scene import lesson

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for number, picture in enumerate(islice(lesson(rate_hz=0.5), 8)):
    cv2.imwrite(str(folder / f"{number:02d}.jpg"), picture)
