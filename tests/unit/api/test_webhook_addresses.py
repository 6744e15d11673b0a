"""Which addresses a webhook may reach."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.runs.webhooks.addresses import MAX_URL, PrivateHosts, is_public, url_problem

NOBODY = PrivateHosts()
FORBIDDEN = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.7", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:53aa:64c::1",
    "2001:db8::1", "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1", "2620:4f:8000::1", "2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:a00:1",
    "2606:4700::1111%eth0",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_what_is_not_plainly_public_is_forbidden(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_becomes_public_by_being_embedded_in_an_ipv6_address(inner: IPv4Address) -> None:
    number = int(inner)
    for embedded in (
        IPv6Address(number),
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(int(IPv6Address("64:ff9b::")) | number),
        IPv6Address(int(IPv6Address("64:ff9b:1::")) | number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(int(IPv6Address("2001::")) | (number ^ 0xFFFF_FFFF)),
        IPv6Address(int(IPv6Address("2a00:1450::")) | 0x5EFE << 32 | number),
    ):
        assert not is_public(embedded), embedded


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_global_unicast(address: IPv6Address) -> None:
    if is_public(address):
        assert address in ip_network("2000::/3")
        assert not any((address.is_private, address.is_multicast, address.ipv4_mapped, address.sixtofour))


@given(st.ip_addresses())
def test_an_address_that_python_calls_special_is_never_public(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_private, address.is_loopback, address.is_link_local, address.is_multicast, address.is_reserved,
        address.is_unspecified,
    )  # fmt: skip
    assert not (is_public(address) and any(special))


class TestPrivateHosts:
    LAB = PrivateHosts.parsed(("hooks.lab", "10.2.0.0/16", "127.0.0.1", "fd00::/8"))

    @pytest.mark.parametrize(
        ("host", "address", "allowed"),
        [
            ("hooks.lab", "192.168.7.7", True),
            ("HOOKS.LAB.", "192.168.7.7", True),
            ("evil.hooks.lab", "192.168.7.7", False),
            ("anything.example", "10.2.3.4", True),
            ("anything.example", "10.3.3.4", False),
            ("localhost", "127.0.0.1", True),
            ("localhost", "127.0.0.2", False),
            ("localhost", "::1", False),
            ("any.example", "fd12::1", True),
            ("any.example", "::ffff:10.2.3.4", False),
            ("any.example", "8.8.8.8", True),
        ],
    )
    def test_what_is_listed_may_be_reached_and_nothing_else(self, host: str, address: str, allowed: bool) -> None:
        assert self.LAB.allow(host, ip_address(address)) is allowed

    def test_a_listed_host_may_do_without_tls(self) -> None:
        for url in ("http://hooks.lab/x", "http://10.2.0.9:8080/", "http://127.0.0.1:1/", "http://[fd00::1]/"):
            assert url_problem(url, self.LAB) is None
        # Its name is not listed, and whoever answers for the name could change where it leads.
        assert url_problem("http://anything.example/", self.LAB) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/basin", "https://hooks.example.org", "https://hooks.example.org:8443/a?b=c&d=%20",
        "https://1.1.1.1/", "https://[2606:4700:4700::1111]:8443/x", "https://xn--bcher-kva.example/", "https://a_b.example/",
        "HTTPS://Hooks.Example.Org/",
    ],
)  # fmt: skip
def test_ordinary_addresses_are_accepted(url: str) -> None:
    assert url_problem(url, NOBODY) is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "1 to 2048"),
        ("https://a.example/" + "x" * MAX_URL, "1 to 2048"),
        ("hooks.example.org", "like https://"),
        ("ftp://a.example/", "like https://"),
        ("file:///etc/passwd", "like https://"),
        ("https://", "like https://"),
        ("https:///x", "like https://"),
        ("https://a.example:0/", "like https://"),
        ("https://a.example:99999/", "like https://"),
        ("https://[::1/", "like https://"),
        ("https://a.example/ x", "printable ASCII"),
        ("https://a.example\\@127.0.0.1/", "printable ASCII"),
        ("https://a.example/\r\nHost: b", "printable ASCII"),
        ("https://bücher.example/", "printable ASCII"),
        ("https://①②⑦.0.0.1/", "printable ASCII"),
        ("https://user:word@a.example/", "no user and password"),
        ("https://user@a.example/", "no user and password"),
        ("https://@a.example/", "no user and password"),
        ("https://a.example/#x", "no fragment"),
        ("https://127.0.0.1/", "private, local or reserved"),
        ("https://10.0.0.8/", "private, local or reserved"),
        ("https://169.254.169.254/latest", "private, local or reserved"),
        ("https://[::1]/", "private, local or reserved"),
        ("https://[::ffff:169.254.169.254]/", "private, local or reserved"),
        ("https://[64:ff9b::7f00:1]/", "private, local or reserved"),
        ("https://[fe80::1%25eth0]/", ""),
        ("https://2130706433/", "neither a name nor a plain address"),
        ("https://0x7f000001/", "neither a name nor a plain address"),
        ("https://0x7f.1/", "neither a name nor a plain address"),
        ("https://127.1/", "neither a name nor a plain address"),
        ("https://0177.0.0.1/", "neither a name nor a plain address"),
        ("https://127.0.0.1./", "neither a name nor a plain address"),
        ("https://a.0x1/", "neither a name nor a plain address"),
        ("https://./", "neither a name nor a plain address"),
        ("http://a.example/", "must begin with https://"),
    ],
)
def test_other_addresses_are_refused_with_what_to_do(url: str, told: str) -> None:
    problem = url_problem(url, NOBODY)
    assert problem is not None
    assert told in problem.allowed
    assert problem.remedy
    assert len(problem.value) <= 120
    assert "@" not in problem.value, "a password may stand before it"


@given(st.text(max_size=60))
def test_no_text_whatever_breaks_the_check(text: str) -> None:
    for url in (text, f"https://{text}/", f"https://a.example{text}", f"https://[{text}]/"):
        url_problem(url, NOBODY)
