"""`basin doctor`: looks at every part of an installation and says what to do about what is wrong.

The API looks at itself and has Celery worker and nodes look (api/doctor/diagnosis.py); what only this machine can see,
it looks at itself. Where no API answers, the control plane's checks run in a process of their own, by the settings of
the local stack or of the environment.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.answers import Unreachable
from cli.client import Client
from cli.connection import connect
from cli.control_plane import control_plane
from cli.failure import ExitCode, Failure
from cli.options import AsJson, Token, Url, print_json
from cli.part_process import messages
from cli.reach import nothing_but_the_api, outer_addresses, ports_of
from cli.stack.home import home_from_environment
from trainer.contract.build import own_versions, same_version
from trainer.contract.clocks import judge_date, now
from trainer.contract.findings import Check, Finding, Found, Verdict, failed, ok, run_checks, worst

HERE = "this machine"
ASK_SECONDS = 120.0
"""For the API's own checks, each of which may take its whole time-out."""
POLL_SECONDS = 1.0
COLOURS = {Verdict.ok: "green", Verdict.warning: "yellow", Verdict.failed: "red"}


def doctor(
    all_findings: Annotated[bool, typer.Option("--all", help="Show what is well, too.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Look at every part: database, broker, storage, Celery worker, Ray, every node. Exits 1 if something failed.

    Needs an admin's token; where no API answers, it looks at what the settings here name.
    """
    console = Console(stderr=True)
    with console.status("looking") as status, connect(url, token, ASK_SECONDS) as client:
        api = _Answer(client.url)
        findings = run_checks(HERE, _checks_here(api))
        findings += _the_others(client, status.update) if api.answered else _without_the_api()
    if as_json:
        print_json({"verdict": worst(findings).value, "findings": [each.model_dump(mode="json") for each in findings]})
    else:
        _show(findings, all_findings)
    if worst(findings) is Verdict.failed:
        raise typer.Exit(ExitCode.failed)


class _Answer:
    """What the API's /healthz says, asked for once."""

    def __init__(self, url: str) -> None:
        self.url, self.answered = url, False
        self.health: dict[str, Any] = {}
        self.date: str | None = None
        self.asked_at = self.answered_at = 0.0

    def ask(self) -> Found:
        self.asked_at = now()
        try:
            answer = httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False)
            self.answered_at = now()
            answer.raise_for_status()
            self.health = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            return failed(
                f"{self.url} does not answer ({type(error).__name__})",
                needed="the API",
                remedy="Start it (`basin up`, `docker compose up -d`) and look at its log; mend --url or BASIN_API_URL",
            )
        self.answered, self.date = True, answer.headers.get("date")
        return ok(f"{self.url} answers")


def _checks_here(api: _Answer) -> list[Check]:
    config = None
    with suppress(Failure):
        config = home_from_environment().read_config()
    ports, addresses = ports_of(config), outer_addresses(api.url)

    def clock() -> Found:
        if not api.answered:
            return ok("not compared: there is no API")
        return judge_date(api.date, asked_at=api.asked_at, answered_at=api.answered_at)

    def version() -> Found:
        if not api.answered:
            return ok("not compared: there is no API")
        theirs = {"basin": api.health.get("version"), "revision": api.health.get("revision")}
        return same_version(theirs, "the API", {**own_versions(), "python": None})

    return [
        Check(name="API", look=api.ask),
        Check(name="clock", look=clock),
        Check(name="version", look=version),
        Check(
            name="published ports",
            look=lambda: nothing_but_the_api(addresses, ports),
            seconds=5 + 3.0 * len(addresses) * len(ports),
        ),
    ]


def _the_others(client: Client, say: Callable[[str], object]) -> list[Finding]:
    """What the API and whom it asks found; where it cannot even begin, without its database say, what is seen here.

    Raises Failure where it refuses the token.
    """
    try:
        return _ask(client, say)
    except Failure as failure:
        if failure.exit_code is ExitCode.unreachable and not isinstance(failure, Unreachable):
            raise
        broken = failed(failure.sentence, needed="an API that can look", remedy="Mend what the findings here name")
        return [Finding(part="api", check="looks", **broken.model_dump()), *_without_the_api()]


def _ask(client: Client, say: Callable[[str], object]) -> list[Finding]:
    """Until every part has answered, or has not in its time: the API says which."""
    diagnosis = client.operations.begin_diagnosis()
    while not diagnosis.complete:
        say(f"waiting for {', '.join(part for part in diagnosis.outstanding if part != 'storage') or 'the storage'}")
        time.sleep(POLL_SECONDS)
        diagnosis = client.operations.diagnosis(diagnosis.id)
    return diagnosis.findings


def _without_the_api() -> list[Finding]:
    """By a process with the control plane's settings, where they are known here."""
    try:
        _, environment = control_plane()
    except Failure as failure:
        sys.stderr.write(f"basin: the other parts are not looked at: {failure.sentence}\n")
        return []
    findings: list[Finding] = []
    try:
        for message in messages("api.doctor", [], environment):
            findings += [Finding.model_validate(each) for each in message["findings"]]
    except Failure as failure:
        sys.stderr.write(f"basin: the other parts are not looked at: {failure.sentence}\n")
    return findings


def _show(findings: list[Finding], everything: bool) -> None:
    console = Console()
    table = Table("part", "check", "", "found, and what to do", box=None, pad_edge=False)
    for finding in findings:
        if finding.verdict is Verdict.ok and not everything:
            continue
        said = Text(finding.found)
        if finding.verdict is not Verdict.ok:
            said.append(f"\nneeded: {finding.needed}\n{finding.remedy}", style="bold")
        table.add_row(finding.part, finding.check, Text(finding.verdict, style=COLOURS[finding.verdict]), said)
    if table.row_count:
        console.print(table)
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    parts = len({finding.part for finding in findings})
    console.print(
        f"{counts[Verdict.ok]} checks of {parts} parts are well, {counts[Verdict.warning]} give a warning,"
        f" {counts[Verdict.failed]} failed",
        highlight=False,
    )
