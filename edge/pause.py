"""A pause that people ordered: by MQTT, by a signal, or by making the file that keeps it over a restart."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)


class Pause:
    """Ordered while the file exists. Commands may come from any thread."""

    def __init__(self, path: Path) -> None:
        """`path`: the file; anybody who may write its folder may make or remove it."""
        self._path = path
        self._unsaved = ""

    def apply(self, command: str, by: str) -> None:
        """Obey `pause` or `resume`; a pause holds even where its file cannot be written.

        Args:
            command: One of contract.message.COMMANDS.
            by: What gave the command, for people.
        """
        log.info("%s ordered by %s", command, by)
        self._unsaved = by if command == "pause" else ""
        try:
            if command == "pause":
                self._path.write_text(by + "\n")
                self._unsaved = ""
            else:
                self._path.unlink(missing_ok=True)
        except OSError as error:
            consequence = "the pause ends with this process" if command == "pause" else "still paused"
            log.error("%s: %s; %s", self._path, error.strerror, consequence)  # noqa: TRY400

    @property
    def reason(self) -> str:
        """Why there is a pause, "" if there is none."""
        try:
            by = self._path.read_text(errors="replace")[:100].strip() or "its file"
        except (FileNotFoundError, NotADirectoryError):
            by = self._unsaved
        except OSError:
            by = "its file"
        return f"ordered by {by}" if by else ""
