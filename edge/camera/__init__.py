"""Sources of frames: files, a USB camera, the Pi's own camera. `open_camera` opens the one that is configured.

May import edge.config and what a camera needs (OpenCV; picamera2 in pi.py alone); not vision, uplink or the daemon.
"""

from edge.camera.file import FileSensor
from edge.camera.pi import PiSensor
from edge.camera.source import STALL_S, Camera
from edge.camera.usb import UsbSensor
from edge.config import CameraConfig, DetectorConfig


def open_camera(camera: CameraConfig, detector: DetectorConfig) -> Camera:
    """The camera that the configuration names; a missing one is an error when it is entered, never another one.

    Args:
        camera: Names the source.
        detector: Its size is what the Pi's second stream is scaled to.
    """
    kind = camera.source.partition(":")[0]
    sensor = PiSensor(camera, detector) if kind == "pi" else (UsbSensor if kind == "usb" else FileSensor)(camera)
    in_turn = kind == "file" and not camera.realtime
    return Camera(sensor, camera.source, max(STALL_S, 3 / camera.rate_hz), in_turn=in_turn)
