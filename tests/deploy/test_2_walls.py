"""Who can reach what: only what is published, from anywhere that is not the deployment's own network."""

from __future__ import annotations

import json
import socket

import pytest

from api.settings import DEVELOPMENT_SECRET
from tests.deploy.site import Site, service_of

PORTS = {"postgres": 5432, "valkey": 6379, "ray-head": 6379, "Ray's jobs": 8265, "Ray's clients": 10001, "api": 8000}
PROBE = """
import json, socket, sys
open_ports = []
for address, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((address, port), timeout=2).close()
        open_ports.append([address, port])
    except OSError:
        pass
print(json.dumps(open_ports))
"""


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def test_on_the_hosts_addresses_only_what_is_published_answers(site: Site) -> None:
    networks = {name for container in site.containers() for name in container["NetworkSettings"]["Networks"]}
    inspected = json.loads(site.run("docker", "network", "inspect", *networks))
    gateways = {
        config["Gateway"] for network in inspected for config in network["IPAM"]["Config"] if "Gateway" in config
    }
    assert gateways
    for address in {"127.0.0.1", *gateways}:
        for name, port in PORTS.items():
            assert not answers(address, port), f"{name} answers on {address}:{port}"
    assert answers("127.0.0.1", site.ports["api"])
    assert answers("127.0.0.1", site.ports["tls"])
    for gateway in gateways:
        assert not answers(gateway, site.ports["api"]), "published on loopback alone"


def test_a_container_on_another_network_reaches_nothing(site: Site) -> None:
    addresses = [
        network["IPAddress"]
        for container in site.containers()
        for network in container["NetworkSettings"]["Networks"].values()
        if network["IPAddress"]
    ]
    assert len(addresses) > 8
    targets = json.dumps([[address, port] for address in addresses for port in sorted(set(PORTS.values()))])
    site.run("docker", "network", "create", "basin-test-stranger")
    try:
        image = next(c["Config"]["Image"] for c in site.containers() if service_of(c) == "api")
        probe = ["docker", "run", "--rm", "--network=basin-test-stranger", image, "python", "-c", PROBE, targets]
        assert json.loads(site.run(*probe)) == []
    finally:
        site.run("docker", "network", "rm", "basin-test-stranger")


def test_inside_its_network_the_same_probe_finds_what_is_there(site: Site) -> None:
    """So that the test before does not pass because the probe finds nothing anywhere."""
    targets = json.dumps([["postgres", 5432], ["valkey", 6379]])
    found = site.compose("exec", "-T", "api", "python", "-c", PROBE, targets)
    assert json.loads(found) == [["postgres", 5432], ["valkey", 6379]]


def test_trainers_reach_neither_database_nor_broker(site: Site) -> None:
    ours = {service_of(container): container["NetworkSettings"]["Networks"] for container in site.containers()}
    targets = [
        [network["IPAddress"], PORTS[name]] for name in ("postgres", "valkey") for network in ours[name].values()
    ]
    found = site.compose("exec", "-T", "ray-worker-cpu", "python", "-c", PROBE, json.dumps(targets))
    assert json.loads(found) == []


def test_no_process_of_any_container_is_roots(site: Site) -> None:
    looked_at = 0
    for container in site.containers():
        if container["State"]["Running"]:
            table = site.run("docker", "top", container["Id"], "-eo", "pid,uid").splitlines()[1:]
            uids = [line.split()[1] for line in table]
            assert "0" not in uids, service_of(container)
            looked_at += len(uids)
    assert looked_at > 20


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (f"BASIN_SECRET={DEVELOPMENT_SECRET}", "BASIN_SECRET must be set outside loopback"),
        ("BASIN_DATABASE_URL=postgresql+psycopg://basin:basin@postgres/basin", "must not hold a default password"),
    ],
)
def test_default_secrets_are_refused(site: Site, setting: str, sentence: str) -> None:
    arguments = ["run", "--rm", "-T", "-e", setting, "admin", "sh", "-c", "python -m api.db.migrate 2>&1; test $? != 0"]
    assert sentence in site.compose(*arguments)


def test_rays_jobs_are_for_who_has_the_token(site: Site) -> None:
    ask = (
        "import urllib.request, urllib.error\n"
        "try: print(urllib.request.urlopen('http://ray-head:8265/api/jobs/', timeout=5).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    assert site.compose("exec", "-T", "api", "python", "-c", ask) == "401"
