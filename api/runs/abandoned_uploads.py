"""Removes uploads of data sets that nobody went on with: the API does, for nobody else may write to the data root."""

from __future__ import annotations

import threading

import structlog

from api.runs.upload_place import abandoned, remove
from api.settings import Settings

log = structlog.get_logger()

EVERY_SECONDS = 3600.0


def remove_abandoned(settings: Settings) -> int:
    """How many went. One that cannot be removed is logged and tried again the next time."""
    gone = 0
    for own in abandoned(settings.data_roots[0]) if settings.data_roots else ():
        try:
            remove(own)
            gone += 1
        except OSError as error:
            log.warning("not_collected", kind="uploads", folder=str(own), error=str(error))
    if gone:
        log.info("collected", uploads=gone)
    return gone


class AbandonedUploads:
    """The thread of the API process that looks for them at its start and every hour."""

    def __init__(self, settings: Settings, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._settings, self._every_seconds = settings, every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="abandoned-uploads", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is being removed may take longer; the next start goes on with it."""
        self._stop.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                remove_abandoned(self._settings)
            except OSError as error:
                log.warning("uploads_not_looked_at", error=str(error))
            self._stop.wait(self._every_seconds)
