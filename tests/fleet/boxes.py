"""The faces found in a folder's pictures by a runtime, as JSON: `python -m tests.fleet.boxes FOLDER RUNTIME`."""

import json
import sys
from pathlib import Path

from edge.camera.file import read_picture
from edge.camera.source import Frame
from edge.config import DetectorConfig, RuntimeConfig
from edge.vision.detector import YuNet

detector = YuNet(DetectorConfig(), RuntimeConfig(package=sys.argv[2]))
frames = [Frame(read_picture(path), 0.0) for path in sorted(Path(sys.argv[1]).iterdir())]
print(json.dumps([detector.find(detector.picture(frame)).tolist() for frame in frames]))
