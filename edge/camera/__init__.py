"""Sources of frames: files, a USB camera, the Pi's own camera. `open_camera` opens the one that is configured.

May import edge.config and what a camera needs (OpenCV; picamera2 in pi.py alone); not vision, uplink or the daemon.
"""

from edge.camera.source import STALL_S, Camera, SequentialCamera, ThreadedCamera
from edge.config import CameraConfig, DetectorConfig


def open_camera(camera: CameraConfig, detector: DetectorConfig) -> Camera:
    """The camera that the configuration names; a missing one is an error when it is entered, never another one.

    Args:
        camera: Names the source.
        detector: Its size is what the Pi's second stream is scaled to.
    """
    # only the camera in use is loaded: picamera2 exists on a Pi only
    kind = camera.source.partition(":")[0]
    stall_s = max(STALL_S, 3 / camera.rate_hz)
    if kind == "pi":
        from edge.camera.pi import PiSensor  # noqa: PLC0415

        return ThreadedCamera(PiSensor(camera, detector), camera.source, stall_s)
    if kind == "usb":
        from edge.camera.usb import UsbSensor  # noqa: PLC0415

        return ThreadedCamera(UsbSensor(camera), camera.source, stall_s)
    from edge.camera.file import FileSensor  # noqa: PLC0415

    sensor = FileSensor(camera)
    return ThreadedCamera(sensor, camera.source, stall_s) if camera.realtime else SequentialCamera(sensor)
