"""The daemon's loop: sees, counts, rests. It takes what it is given, so it runs with a list for a camera."""

from collections.abc import Callable, Iterable

from contract.message import StateName
from edge.camera.frame import Frame
from edge.camera.source import Camera


def work(
    camera: Camera,
    count: Callable[[Frame], None],
    paused: Callable[[], str],
    say: Callable[[StateName, str], None],
    rest: Callable[[], None],
) -> None:
    """Let the camera see and count every frame, except in pauses, until it ends.

    Args:
        camera: Not yet entered; a daemon that starts in a pause does not touch it.
        count: Given every frame; it tells the watchdog, so a camera that stalls starves that.
        paused: Why there is a pause, "" if there is none.
        say: Told `ready` or `paused` and the reason, and before anything else that all is well.
        rest: Called several times a second in a pause.
    """
    _rest_while(paused, say, rest)
    with camera:
        while True:
            say("ready", "")
            if _see(camera, count, paused):
                return
            camera.pause()
            _rest_while(paused, say, rest)
            camera.resume()


def _see(frames: Iterable[Frame], count: Callable[[Frame], None], paused: Callable[[], str]) -> bool:
    """Count until the frames end (true) or a pause begins (false); of a pause nothing is read."""
    for frame in frames:
        if paused():
            return False
        count(frame)
    return not paused()


def _rest_while(paused: Callable[[], str], say: Callable[[StateName, str], None], rest: Callable[[], None]) -> None:
    told = ""
    while reason := paused():
        if reason != told:
            say("paused", reason)
            told = reason
        rest()
