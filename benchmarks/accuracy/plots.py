"""The plots of the report, by matplotlib, which is fetched into build/ since nothing else here needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.accuracy.cells import SWEEP_BATCHES

PACKAGES = Path(__file__).resolve().parents[2] / "build" / "accuracy" / "packages"


def plot(
    finals: dict[str, list[dict[str, Any]]], gains: dict[str, list[dict[str, Any] | None]], folder: Path
) -> None:  # fmt: skip
    """`accuracy.svg`: test top-1 against gradient evaluations, a field for each regime; `batch.svg`: the sweep."""
    _fetch()
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "basin"  # the same file from the same figures
    from matplotlib import pyplot

    figure, fields = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
    for axes, (regime, lines) in zip(fields.flat, finals.items(), strict=True):
        for line in lines:
            axes.errorbar(line["gradient_evaluations"], line["mean"], line["half"], marker="o", capsize=3,
                          label=line["arm"])  # fmt: skip
        axes.set(title=regime, xlabel="gradient evaluations", ylabel="test top-1 (%)")
    fields.flat[0].legend(fontsize="small")
    figure.savefig(folder / "accuracy.svg", metadata={"Date": None})

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for arm, found in gains.items():
        lines = [line for line in found if line is not None]
        batches = [line["batch"] for line in lines]
        left.plot(batches, [line["cosine"] for line in lines], marker="o", label=arm)
        right.errorbar(batches, [line["gain"][0] for line in lines], [line["gain"][1] for line in lines], marker="o",
                       capsize=3, label=arm)  # fmt: skip
    left.set(ylabel="cos(g_v now, before), median")
    right.set(ylabel="test top-1 with reuse - without (points)")
    right.axhline(0, color="grey", linewidth=0.8)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="batch size", xticks=SWEEP_BATCHES, xticklabels=[str(batch) for batch in SWEEP_BATCHES])
        axes.legend(fontsize="small")
    figure.savefig(folder / "batch.svg", metadata={"Date": None})


def _fetch() -> None:
    complete = PACKAGES / ".complete"
    if not complete.exists():
        print("Installing matplotlib", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PACKAGES), "-r"]
        subprocess.run([*command, str(Path(__file__).with_name("plots.txt"))], check=True)
        complete.touch()
    sys.path.append(str(PACKAGES))  # last: what it brings along must not hide the versions in use here
