"""What `basin data check` found, as a person reads it."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

COPIES = {
    "in_two_classes": "the same image in two classes: one of the labels is wrong",
    "in_both_folders": "the same image in training and validation: validation would praise what was learned by heart",
    "in_one_class": "the same image twice in a class",
}
SHOWN_COPIES = 10


def data_page(report: dict[str, Any]) -> RenderableType:
    parts: list[RenderableType] = []
    if not report["complete"]:
        parts.append(Text(report["crashed"] or "Interrupted: this is what was looked at so far.", style="yellow"))
    for folder in report["folders"]:
        parts += [_folder(folder), *_findings(folder), Text()]
    parts += _copies(report["copies"])
    parts += [Text(f"Note: {hint}.", style="yellow") for hint in report["hints"]]
    parts.append(_verdict(report))
    parts.append(Text(f"\n{report['spec'].rstrip()}"))
    return Group(*parts)


def _folder(folder: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    spread, sizes = folder["images_per_class"], folder["sizes"]
    looked_at = "" if folder["looked_at"] == folder["images"] else f", {folder['looked_at']:,} looked at"
    rows = [
        (folder["name"], folder["path"]),
        ("classes", f"{folder['classes']:,}"),
        ("images", f"{folder['images']:,}{looked_at}, {readable_bytes(folder['bytes'])}"),
    ]
    if spread is not None:
        rows.append(("per class", _spread(spread)))
    if sizes is not None:
        common = ", ".join(f"{width} x {height} ({count:,})" for width, height, count in sizes["common"])
        more = f" and {sizes['kinds'] - len(sizes['common'])} more" if sizes["kinds"] > len(sizes["common"]) else ""
        rows.append(("sizes", f"{common}{more}"))
        rows.append(("", f"smallest {_size(sizes['smallest'])}, largest {_size(sizes['largest'])}"))
    rows.append(("modes", ", ".join(f"{mode} ({count:,})" for mode, count in folder["modes"].items())))
    if folder["ignored"]:
        rows.append(("passed over", f"{folder['ignored']:,} files that are hidden or no images by their names"))
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="dim"), Text(value))
    return table


def _spread(spread: dict[str, Any]) -> str:
    if spread["least"] == spread["most"]:
        return f"{spread['least']:,} each"
    least, most = (f"{spread[end]:,} ({spread[f'{end}_class']})" for end in ("least", "most"))
    return f"{least} to {most}, median {spread['median']:,g}; {spread['imbalance']:g} to 1"


def _findings(folder: dict[str, Any]) -> list[Text]:
    broken, problems = folder["broken"], folder["problems"]
    lines = [Text(problem["sentence"], style="red") for problem in problems["first"]]
    lines += [Text(f"{each['path']} {each['why']}", style="red") for each in broken["first"]]
    for found in (problems, broken):
        if found["count"] > len(found["first"]):
            lines.append(Text(f"... and {found['count'] - len(found['first']):,} more", style="red"))
    return lines


def _copies(copies: dict[str, Any]) -> list[Text]:
    lines = []
    for kind, meaning in COPIES.items():
        found = copies[kind]
        if found["count"]:
            lines.append(Text(f"{found['count']:,} x {meaning}", style="yellow"))
            lines += [Text(f"  {' = '.join(group)}") for group in found["first"][:SHOWN_COPIES]]
            if found["count"] > SHOWN_COPIES:
                lines.append(Text(f"  ... and {found['count'] - SHOWN_COPIES:,} more"))
    return lines


def _verdict(report: dict[str, Any]) -> Text:
    if report["would_fail"]:
        return Text("A run on this would end with the reason data_unreadable: mend what is red above.", style="red")
    if not report["complete"]:
        return Text("Nothing that a run would fail of was found so far.")
    return Text("Nothing that a run would fail of was found.", style="green")


def _size(size: list[int]) -> str:
    return f"{size[0]} x {size[1]}"


def readable_bytes(count: int) -> str:
    """Decimal units, three digits."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}"
