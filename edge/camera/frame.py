"""One picture on its way through the daemon. It is never written, logged or sent."""

from dataclasses import dataclass

import numpy as np

Box = tuple[int, int, int, int]
"""A face: xyxy in pixels, origin top left. It may reach over the picture's border; its centre never lies outside."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture and when it was taken."""

    image: np.ndarray
    """(height, width, 3) uint8 bgr."""
    captured_s: float
    """Of time.monotonic()."""
    lores: np.ndarray | None = None
    """The same scene, (height, width, 3) uint8 bgr and smaller: faces are looked for in it."""
