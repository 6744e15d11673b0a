"""The Celery worker's share of `basin doctor`: it looks at itself and at Ray, and has every node look at itself.

The nodes' looks are Ray jobs without a stack's mark, so reconcile neither stops nor counts them; they take no slot.
"""

from __future__ import annotations

import json
import random
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx
import structlog
from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import insert

from api.db.operations_tables import DiagnosisPart
from api.doctor.checks import database_clock, own_storage
from api.doctor.diagnosis import API, CELERY, SHARED_CHECK, probe_folder, probe_name, store
from trainer.contract import folders
from trainer.contract.build import same_version
from trainer.contract.diagnosis import MARKER, NodeTask
from trainer.contract.findings import Check, Finding, Found, failed, ok, run_checks
from worker.connections import Connections
from worker.ray_jobs import DRIVER_RESOURCE, Job, JobRequest, JobState, Node, RayError, RayJobs

log = structlog.get_logger()

JOB_PREFIX = "doctor-"
"""Of the names of the nodes' jobs."""
MAX_HOST = 200
"""Letters of a node's name in the name of its part, which also names a file."""
ASK_SECONDS = 5.0
COLLECT_SECONDS = 30.0
"""After that no further node's log is asked for: each question may take its whole time-out. The next look goes on."""
MEND_RAY = "Start Ray's head and look at its log, or mend BASIN_RAY_ADDRESS and BASIN_RAY_TOKEN"


def examine(connections: Connections, diagnosis_id: str) -> None:
    """Looks, and hands Ray a job for every node that trains. A repeat does nothing."""
    settings = connections.settings
    with connections.transaction() as session:
        rows = {row.part: row for row in session.scalars(_parts(diagnosis_id))}
        if API not in rows or CELERY not in rows or rows[CELERY].findings is not None:
            return
        versions = rows[API].about["versions"]
    folder = settings.storage / probe_folder(diagnosis_id)
    probes = {API: diagnosis_id}
    with connections.ray() as ray:
        checks = [
            Check(name="version", look=lambda: same_version(versions, "the API")),
            Check(name="clock", look=lambda: database_clock(connections.engine)),
            Check(name="storage", look=lambda: own_storage(settings, connections.engine)),
            Check(name=SHARED_CHECK, look=lambda: folders.shared_storage(folder, probes, probe_name(CELERY))),
            Check(name="Ray", look=lambda: ray_answers(ray), if_it_breaks=MEND_RAY),
            Check(name="Ray's token", look=lambda: ray_demands_a_token(settings.ray_address), if_it_breaks=MEND_RAY),
        ]
        findings = run_checks(CELERY, checks)
        wrote = next(f.verdict == "ok" for f in findings if f.check == SHARED_CHECK)
        if wrote:
            probes[probe_name(CELERY)] = diagnosis_id
        nodes: list[Node] = []
        head = None
        with suppress(RayError):  # That it does not answer is a finding already.
            nodes, head = [node for node in ray.nodes() if node.alive and node.trains], ray.version()
        parts = part_names(nodes)
        tasks = [(node, _task(connections, node, part, diagnosis_id, versions, head, probes)) for node, part in parts]
        # The nodes' rows come before the answer: whoever sees that one knows for whom to wait.
        with connections.transaction() as session:
            for node, task in tasks:
                session.execute(
                    insert(DiagnosisPart)
                    .values(diagnosis_id=diagnosis_id, part=task.part, submission_id=_job_id(diagnosis_id, node))
                    .on_conflict_do_nothing()
                )
            store(session, diagnosis_id, CELERY, findings)
        for node, task in tasks:
            _hand_over(connections, ray, diagnosis_id, node, task)


def collect_findings(connections: Connections, diagnosis_id: str) -> None:
    """Takes in what nodes have found whose jobs have ended, and makes Ray forget these.

    Every look at a diagnosis asks for this, so it does nothing beside another one: of the few Celery processes a Ray
    that hardly answers holds one.
    """
    with connections.only_one("collect_findings") as mine:
        if mine:
            _collect(connections, diagnosis_id)


def _collect(connections: Connections, diagnosis_id: str) -> None:
    until = time.monotonic() + COLLECT_SECONDS
    with connections.transaction() as session:
        rows = session.scalars(_parts(diagnosis_id)).all()
    waiting = [(row.part, row.submission_id) for row in rows if row.findings is None and row.submission_id is not None]
    if not waiting:
        return
    with connections.ray() as ray:
        try:
            jobs = ray.jobs()
        except RayError as error:
            log.warning("findings_not_collected", error=str(error))
            return
        # In any order: however many nodes do not answer, none comes after them in every look.
        for part, submission_id in random.sample(waiting, len(waiting)):
            if time.monotonic() >= until:
                break
            job = jobs.get(submission_id)
            # One that Ray does not know may be about to be handed over, since its row is committed first. Where Ray has
            # lost it, the node's silence is told in time.
            if job is None or job.state is not JobState.ended:
                continue
            try:
                findings = findings_in(part, job, ray.log_tail(job))
                with connections.transaction() as session:
                    store(session, diagnosis_id, part, findings)
                ray.delete(submission_id)
            except RayError as error:
                log.warning("findings_not_collected", part=part, error=str(error))


def part_names(nodes: Sequence[Node]) -> list[tuple[Node, str]]:
    """Each with the name of its part. People know a machine by its name; where two have one name, by the id too."""
    hosts = [node.host[:MAX_HOST] for node in nodes]
    return [
        (node, f"node {host}" if hosts.count(host) == 1 else f"node {host} ({node.node_id[:12]})")
        for node, host in zip(nodes, hosts, strict=True)
    ]


def findings_in(part: str, job: Job, printed: str) -> list[Finding]:
    """What a node's job has printed; where it printed no findings, that is one."""
    for line in reversed(printed.splitlines()):
        _, marked, document = line.partition(MARKER)
        if marked:
            try:
                return [Finding.model_validate(each) for each in json.loads(document)]
            except ValueError:
                break
    last = next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), job.message or "nothing")
    silent = failed(
        f"its job ended without findings: {last[:300]}",
        needed="a trainer that starts there",
        remedy="Let BASIN_TRAINER_PYTHON name the Python with Basin's trainer on that node, of the same version",
    )
    return [Finding(part=part, check="trainer", **silent.model_dump())]


def ray_answers(ray: RayJobs) -> Found:
    """Its job API, with our token, and at least one node that trains."""
    nodes = ray.nodes()
    alive = [node for node in nodes if node.alive]
    if not any(node.trains for node in alive):
        return failed(
            f"{len(alive)} nodes live, none of them trains",
            needed="a node that offers the resource `driver`",
            remedy="Start a GPU worker; `ray start` there with --resources='{\"driver\": 1000}'",
        )
    slots = f"{sum(node.gpus for node in alive):g} GPUs, {sum(node.cpus for node in alive):g} CPU slots"
    return ok(f"version {ray.version()} answers: {len(alive)} nodes, {slots}")


def ray_demands_a_token(address: str) -> Found:
    """Ray's job API runs any command it is sent."""
    answer = httpx.get(f"{address}/api/jobs/", timeout=ASK_SECONDS, trust_env=False)
    if answer.status_code in (401, 403):
        return ok("refuses without a token")
    return failed(
        f"answers {answer.status_code} without a token: whoever reaches it runs any command",
        needed="a head that asks for one",
        remedy="Start head and nodes with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH; BASIN_RAY_TOKEN is the same",
    )


def _hand_over(connections: Connections, ray: RayJobs, diagnosis_id: str, node: Node, task: NodeTask) -> None:
    request = JobRequest(
        submission_id=_job_id(diagnosis_id, node),
        entrypoint=f"{shlex.quote(connections.settings.trainer_python)} -m trainer.host_doctor",
        env_vars={"BASIN_DOCTOR": task.model_dump_json()},
        metadata={"diagnosis": diagnosis_id},
        # A little of what only this node has, so that the job runs there.
        resources={**DRIVER_RESOURCE, **({node.resource: 0.001} if node.resource else {})},
    )
    try:
        ray.submit(request)
    except RayError as error:
        away = failed(str(error), needed="a job on this node", remedy="Look at Ray's log of the node")
        with connections.transaction() as session:
            store(session, diagnosis_id, task.part, [Finding(part=task.part, check="trainer", **away.model_dump())])


def _task(
    connections: Connections,
    node: Node,
    part: str,
    diagnosis_id: str,
    versions: dict[str, str | None],
    ray_version: str | None,
    probes: dict[str, str],
) -> NodeTask:
    settings = connections.settings
    return NodeTask(
        part=part,
        gpus=int(node.gpus),
        storage=str(settings.storage),
        spool=str(settings.spool) if settings.spool else None,
        api_url=settings.trainer_api_url or settings.api_url,
        versions=versions,
        ray_version=ray_version,
        probe_folder=probe_folder(diagnosis_id),
        probes=probes,
        probe_name=probe_name(part),
    )


def _job_id(diagnosis_id: str, node: Node) -> str:
    return f"{JOB_PREFIX}{diagnosis_id}-{node.node_id[:24]}"


def _parts(diagnosis_id: str) -> Select[DiagnosisPart]:
    return select(DiagnosisPart).where(DiagnosisPart.diagnosis_id == diagnosis_id)
