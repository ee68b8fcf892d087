"""The faces found in a folder's pictures by a runtime, as JSON: `python -m tests.fleet.boxes FOLDER RUNTIME`."""

import json
import sys
from pathlib import Path

import cv2

from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.detector import YuNet

detector = YuNet(DetectorConfig(), RuntimeConfig(package=sys.argv[2]))
print(json.dumps([detector.find(cv2.imread(str(path))).tolist() for path in sorted(Path(sys.argv[1]).iterdir())]))
