"""A pause that people ordered: by MQTT, by a signal, or by making the file that keeps it over a restart."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)


class Pause:
    """Ordered while the file exists. Orders may come from any thread."""

    def __init__(self, path: Path) -> None:
        """`path`: the file; anybody who may write its folder may make or remove it."""
        self._path = path
        self._unsaved = ""

    def order(self, order: str, by: str) -> None:
        """`pause` or `resume`, and what gave the order; a pause holds even where its file cannot be written."""
        log.info("%s ordered by %s", order, by)
        if order == "pause":
            self._unsaved = by
            try:
                self._path.write_text(by + "\n")
                self._unsaved = ""
            except OSError as error:
                log.error("%s: %s; the pause will not outlive this process", self._path, error.strerror)  # noqa: TRY400
            return
        self._unsaved = ""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.error("%s: %s; the pause stays", self._path, error.strerror)  # noqa: TRY400

    @property
    def reason(self) -> str:
        """Why there is a pause, "" if there is none."""
        if self._path.exists():
            return f"ordered by {self._by()}"
        return f"ordered by {self._unsaved}" if self._unsaved else ""

    def _by(self) -> str:
        try:
            return self._path.read_text(errors="replace")[:100].strip() or "its file"
        except OSError:
            return "its file"
