"""Delivers one writer's reports from a thread of its own: in order, and again until they are acknowledged."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from trainer.api_client import ApiClient, Refused, Unreachable
from trainer.contract.ends import EndReason
from trainer.contract.reports import Command, Numbered, ReportReply, Writer
from trainer.spool import Spool

log = logging.getLogger(__name__)

STOPS = {Command.stop: EndReason.cancelled_by_user, Command.pause: EndReason.paused}

FLUSH_SECONDS = 0.5
"""Pause between two deliveries: how far behind a dashboard is, at most."""
FIRST_BACK_OFF_SECONDS = 0.25
MAX_BACK_OFF_SECONDS = 5.0
GAP = 409


class Delivery:
    """A spool and the thread that empties it. `before` runs in that thread ahead of each delivery and may add some."""

    def __init__(
        self, spool: Spool, api: ApiClient, *, attempt_token: str, writer: Writer,
        before: Callable[[], None] = lambda: None, flush_seconds: float = FLUSH_SECONDS,
    ) -> None:  # fmt: skip
        self.spool = spool
        self._api = api
        self._token = attempt_token
        self._writer = writer
        self._before = before
        self._flush_seconds = flush_seconds
        self._back_off_seconds = 0.0  # 0: the last delivery went well
        self._wake = threading.Event()
        self._deadline: float | None = None  # monotonic; set when closing
        self._stop_reason: EndReason | None = None
        self._superseded = False
        self._thread = threading.Thread(target=self._run, name=f"reports-{writer}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def stop_requested(self) -> bool:
        """The API asked the attempt to save and end."""
        return self._stop_reason is not None

    @property
    def stop_reason(self) -> EndReason:
        """What an attempt that was asked to save and end has ended by: the newest command says."""
        return self._stop_reason or EndReason.cancelled_by_user

    @property
    def superseded(self) -> bool:
        """A newer attempt took over: nothing is sent any more."""
        return self._superseded

    @property
    def is_answered(self) -> bool:
        """False while the API does not take reports: then it makes no sense to add what will be stale on arrival."""
        return self._back_off_seconds == 0.0

    def add(self, build: Callable[[int], Numbered]) -> None:
        self.spool.append(build)

    def hurry(self) -> None:
        """Deliver now and not at the next turn."""
        self._wake.set()

    def close(self, *, patience_seconds: float, leftovers: Path) -> int:
        """Delivers what is left for at most `patience_seconds`, then stores the rest in `leftovers`. Returns its count.

        Of a superseded attempt nothing is stored. Raises OSError if the storage cannot be written.
        """
        self._deadline = time.monotonic() + patience_seconds
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(patience_seconds + 1.0)  # it may sit in a request; what that one delivers is stored twice
        left = 0 if self._superseded else self.spool.store_unacknowledged(leftovers)
        self.spool.close()
        return left

    def _run(self) -> None:
        while not self._superseded and not self._is_done():
            self._wake.wait(self._pause())
            self._wake.clear()
            try:
                self._before()
            except OSError as error:  # the spool's disk is full, say; training hears of it at its next report
                log.error("A report could not be spooled: %s", error)
            try:
                self._deliver()
            except Exception:  # this thread keeps the lease: it must outlive what nobody thought of
                log.exception("Reports could not be delivered; trying again.")
                self._back_off()
        self._api.close()

    def _is_done(self) -> bool:
        if self._deadline is None:
            return False
        return self.spool.outstanding == 0 or time.monotonic() >= self._deadline

    def _pause(self) -> float:
        if self._deadline is None:
            return self._back_off_seconds or self._flush_seconds
        return min(self._back_off_seconds, 1.0, max(0.0, self._deadline - time.monotonic()))

    def _deliver(self) -> None:
        """Sends batches until none is left or one fails."""
        while (lines := self.spool.batch()) and not self._superseded:
            try:
                reply = self._api.report(self._token, self._writer, lines)
            except Unreachable as error:
                self._failed("The API takes no reports (%s); %d wait.", error)
                return
            except Refused as refusal:
                if refusal.status == GAP and self._rewound(refusal.acknowledged):
                    continue
                self._failed("The API refused reports (%s); %d wait.", refusal)
                return
            if not self._heard(reply):
                return
            if self._deadline is not None and time.monotonic() >= self._deadline:
                return
        self._back_off_seconds = 0.0

    def _heard(self, reply: ReportReply) -> bool:
        """Takes in an answer; False if it got the sender no further, so that it has to back off."""
        if not self.is_answered:
            log.info("The API takes reports again; %d wait.", self.spool.outstanding)
        before = self.spool.acknowledged
        if reply.acknowledged < before:
            self.spool.rewind(reply.acknowledged)
        else:
            self.spool.acknowledge(reply.acknowledged)
        self._back_off_seconds = 0.0
        self._superseded = self._superseded or reply.superseded
        self._stop_reason = STOPS.get(reply.command, self._stop_reason)
        if reply.acknowledged <= before and not self._superseded:
            self._failed("The API acknowledged nothing new (%s); %d wait.", reply.acknowledged)
            return False
        return True

    def _rewound(self, acknowledged: int | None) -> bool:
        """After a gap: goes back to what the API holds. False if that changes nothing or is no longer kept."""
        before = self.spool.acknowledged
        if acknowledged is None or acknowledged == before:
            return False
        if acknowledged > before:
            self.spool.acknowledge(acknowledged)
        elif not self.spool.rewind(acknowledged):
            return False
        log.warning("The API holds reports up to %d, not %d: sending from there.", acknowledged, before)
        return True

    def _failed(self, sentence: str, cause: object) -> None:
        if self.is_answered:  # once per outage, not once per try
            log.warning(sentence, cause, self.spool.outstanding)
        self._back_off()

    def _back_off(self) -> None:
        self._back_off_seconds = min(MAX_BACK_OFF_SECONDS, max(FIRST_BACK_OFF_SECONDS, 2 * self._back_off_seconds))
