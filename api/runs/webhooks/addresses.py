"""Which addresses a webhook may reach: public ones, and what an operator listed in BASIN_WEBHOOK_PRIVATE_HOSTS.

Whoever may name a URL could otherwise make Basin ask what only Basin can reach: services on this machine, of the lab's
network, of the cloud's metadata. A name is judged by what it resolves to at the moment of the connection, since it may
resolve to something else the next time, and the connection goes to the very address that was judged (`sending`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from trainer.contract.problems import SpecProblem

MAX_URL = 2048

LISTED = "For a host of your own network, ask an operator to list it in BASIN_WEBHOOK_PRIVATE_HOSTS"

Address = IPv4Address | IPv6Address

# On top of what Python's `is_global` excludes. Its table moves with Python's version, so what matters stands here.
NEVER_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's host of every virtual machine, which looks public
    )
)  # fmt: skip
PUBLIC_IPV6 = IPv6Network("2000::/3")
"""All that IANA gives out. IPv4-mapped, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), unique local, link-local, site-local and
multicast addresses are outside."""
NEVER_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo, which embeds an IPv4 address
        "2001:db8::/32", "3fff::/20",  # documentation
        "2002::/16",  # 6to4 embeds an IPv4 address
        "2620:4f:8000::/48", "5f00::/16",
    )
)  # fmt: skip
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""Upper half of an interface id whose lower half is an IPv4 address."""


def is_public(address: Address) -> bool:
    """Whether anybody's machine may be there, and none of ours: global unicast that embeds no other address."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in NEVER_IPV4)
    if address.scope_id is not None or address not in PUBLIC_IPV6:
        return False
    if (int(address) >> 32) & 0xFFFF_FFFF in ISATAP:
        return False
    return address.is_global and not any(address in network for network in NEVER_IPV6)


@dataclass(frozen=True, kw_only=True)
class PrivateHosts:
    """What an operator allows though it is not public."""

    names: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parsed(cls, entries: Iterable[str]) -> PrivateHosts:
        """From `Settings.webhook_private_hosts`, which has checked them."""
        names: set[str] = set()
        networks: list[IPv4Network | IPv6Network] = []
        for entry in entries:
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                names.add(_plain(entry))
        return cls(names=frozenset(names), networks=tuple(networks))

    def name(self, host: str) -> bool:
        """Whether the host itself is listed: by its name, or as an address in a listed network."""
        address = _address(host)
        return _plain(host) in self.names or (address is not None and self._hold(address))

    def allow(self, host: str, address: Address) -> bool:
        """Whether `address`, to which `host` resolved, may be connected to."""
        return is_public(address) or _plain(host) in self.names or self._hold(address)

    def _hold(self, address: Address) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)


def url_problem(url: str, private: PrivateHosts, *, path: str = "url") -> SpecProblem | None:
    """What is wrong with a URL by its words alone, without asking who its host is; null: nothing."""

    def problem(allowed: str, remedy: str) -> SpecProblem:
        shown = "" if "@" in url else ascii(url)[1:-1][:120]  # What stands before @ may be a password.
        return SpecProblem(path=path, value=shown, allowed=allowed, remedy=remedy)

    if not 1 <= len(url) <= MAX_URL:
        return problem(f"must have 1 to {MAX_URL} characters, not {len(url)}", "Use a shorter address")
    if not all("!" <= character <= "~" and character not in '\\"<>^`{|}' for character in url):
        return problem(
            "must be of printable ASCII characters, without spaces and backslashes",
            "Write other characters as %XX, and an international host name as xn--...",
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return problem("must be a URL like https://hooks.example.org/basin", "Mend its host or port")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return problem("must be a URL like https://hooks.example.org/basin", "Mend its scheme, host or port")
    if parts.username is not None or parts.password is not None:
        return problem("must hold no user and password", "The signature proves who sends; put a secret in the path")
    if "#" in url:
        return problem("must have no fragment (#...)", "Leave out what stands behind #")
    return _host_problem(host, parts.scheme, private, problem)


def _host_problem(
    host: str, scheme: str, private: PrivateHosts, problem: Callable[[str, str], SpecProblem]
) -> SpecProblem | None:
    address = _address(host)
    if address is None and (":" in host or "%" in host or _ends_in_a_number(host)):
        return problem("has a host that is neither a name nor a plain address", "Write an address as 203.0.113.7")
    if address is not None and not private.allow(host, address):
        return problem("must not lead to a private, local or reserved address", LISTED)
    if scheme == "http" and not private.name(host):
        return problem("must begin with https://", f"Serve it with TLS. {LISTED}")
    return None


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _ends_in_a_number(host: str) -> bool:
    """`127.1`, `0x7f000001` and `2130706433` are addresses for some resolvers, so nothing like them is a name here."""
    last = _plain(host).rpartition(".")[2]
    return last.isdigit() or last.startswith("0x") or not last
