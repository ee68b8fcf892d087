"""The daemon's loop: sees, counts, rests. It takes what it is given, so it runs with a list for a camera."""

from collections.abc import Callable, Iterable

from edge.camera import Camera
from edge.counts import Reading
from edge.frame import Frame


def count(
    frames: Iterable[Frame],
    read: Callable[[Frame], Reading],
    offer: Callable[[Reading], None],
    alive: Callable[[], None],
    paused: Callable[[], str],
) -> bool:
    """Count every frame until the frames end (true) or a pause begins (false); of a pause nothing is read.

    `alive` is called once per frame that was offered, so a camera that stalls starves the watchdog.
    """
    for frame in frames:
        if paused():
            return False
        offer(read(frame))
        alive()
    return not paused()


def work(
    camera: Camera,
    sight: Callable[[Iterable[Frame]], bool],
    paused: Callable[[], str],
    say: Callable[[str, str], None],
    rest: Callable[[], None],
) -> None:
    """Let the camera see, except in pauses, until it ends.

    Args:
        camera: Not yet entered; a daemon that starts in a pause does not touch it.
        sight: `count` with everything but the frames.
        paused: Why there is a pause, "" if there is none.
        say: Told `ready` or `paused` and the reason, and before anything else that all is well.
        rest: Called several times a second in a pause.
    """
    _rest_while(paused, say, rest)
    with camera:
        while True:
            say("ready", "")
            if sight(camera):
                return
            camera.pause()
            _rest_while(paused, say, rest)
            camera.resume()


def _rest_while(paused: Callable[[], str], say: Callable[[str, str], None], rest: Callable[[], None]) -> None:
    told = ""
    while reason := paused():
        if reason != told:
            say("paused", reason)
            told = reason
        rest()
