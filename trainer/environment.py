"""The fingerprint of what an attempt ran on. Versions come from package metadata: the driver loads no torch."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from trainer.contract.reports import Environment


def environment(devices: Sequence[str]) -> Environment:
    """Versions and host of this process, with one device name per rank."""
    return Environment(
        basin=installed("basin") or "unknown",
        python=platform.python_version(),
        torch=installed("torch"),
        timm=installed("timm"),
        ray=installed("ray"),
        host=platform.node(),
        devices=list(devices),
    )


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
