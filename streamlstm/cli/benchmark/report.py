"""The bench's figures as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

GROWTH_DEFAULTS = "LSTM(64), 10,000 series, single values"
Report = dict[str, Any]  # what `streamlstm bench --json` prints


def render(report: Report) -> Iterable[str]:
    """Lines of the whole report."""
    yield from _head(report)
    parts = {"drain": _drain, "latency": _latency, "memory": _memory, "growth": _growth, "peers": _peers}
    for part, lines in parts.items():
        if part in report:
            yield ""
            yield from lines(report)
    load = report["load"]
    yield ""
    yield f"Load average of the machine: {load['before']:.2f} before, {load['after']:.2f} after."


def caption(report: Report) -> str:
    """What a picture of the figures has to say of where they come from."""
    machine, settings = report["machine"], report["settings"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['server']}, append-only file {settings['fsync']}; "
        f"elsewhere {GROWTH_DEFAULTS}"
    )


def _head(report: Report) -> Iterable[str]:
    machine, settings = report["machine"], report["settings"]
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    packages = machine["packages"]
    yield (
        f"{machine['server']}, Python {machine['python']}, onnxruntime {packages['onnxruntime']}, "
        f"streamlstm {machine['streamlstm']}{'' if machine['compiled'] else ', WITHOUT its compiled parts'}"
    )
    yield (
        f"{settings['model']}, append-only file {settings['fsync']}; medians of {settings['repeat']}, by turns with "
        "the floor"
    )


def _drain(report: Report) -> Iterable[str]:
    settings = report["settings"]
    yield f"Drain rate of a backlog, values/s (append-only file {settings['fsync']})"
    rows = [["", "series", "serve", "floor", "naive", "one core", "of floor", "of naive", "one core"]]
    for found in report["drain"]:
        peers = [name for name in ("naive", "naive_one_core") if name in found]
        missing = ["-"] * (2 - len(peers))
        rows.append(
            [
                found["case"],
                f"{found['series']:,}",
                _rate(found["ours"]),
                _rate(found["floor"]),
                *[_rate(found[name]) for name in peers] + missing,
                f"{found['of_floor']:.2f} x",
                *[f"{found[f'of_{name}']:.0f} x" for name in peers] + missing,
            ]
        )
    yield from table(rows)
    yield "  floor: the same commands packed beforehand. naive: one redis-py call and one model call for everything, as"
    yield "  the system schedules it, and bound to one core together with the server, where it is fastest."


def _latency(report: Report) -> Iterable[str]:
    settings = report["settings"]
    yield f"Latency from the time a value is due to its prediction, ms (append-only file {settings['fsync']})"
    names = ("p50", "p99", "p999")
    rows = [["values/s", "", "p50", "p99", "p99.9", "of echo p50", "p99", "p99.9"]]
    for found in report["latency"]:
        of_echo = {"ours": "of_echo", "busy": "busy_of_echo"}
        for who, text in (("ours", "serve"), ("busy", "busy"), ("least", "least"), ("echo", "echo")):
            ratios = [f"{found[of_echo[who]][name]:.2f} x" if who in of_echo else "" for name in names]
            rate = f"{found['values_per_s']:,}" if who == "ours" else ""
            rows.append([rate, text, *(f"{found[who][name]:.2f}" for name in names), *ratios])
    yield from table(rows)
    yield "  echo: a loop that answers without a model. least: the same with the model's call and a commit's commands."
    yield "  busy: serve --busy-poll, which does not sleep between values and takes a core for it."


def _memory(report: Report) -> Iterable[str]:
    found = report["memory"]
    yield f"Memory of {found['series']:,} series, the raw state being {found['raw_bytes']} bytes"
    rows = [["", "bytes a series", "of the raw state"]]
    for name, text in (
        ("redis_key", "records in the server, MEMORY USAGE"),
        ("redis_used", "the server, used_memory with and without them"),
        ("daemon_rows", "records in the daemon, streamlstm_state_bytes"),
        ("daemon_resident", "the daemon, resident, against few series"),
    ):
        one = found[name]
        rows.append(
            [text, "-", "-"] if one is None else [text, f"{one['bytes_per_series']:.0f}", f"{one['of_raw']:.2f} x"]
        )
    yield from table(rows)


def _growth(report: Report) -> Iterable[str]:
    yield f"Growth, values/s (append-only file {report['settings']['fsync']})"
    rows = [["", "series", "units", "values/entry", "serve", "floor", "of floor"]]
    rows += [
        [
            found["curve"],
            f"{found['series']:,}",
            str(found["units"]),
            f"{found['values_per_entry']:,}",
            _rate(found["ours"]),
            _rate(found["floor"]),
            f"{found['of_floor']:.2f} x",
        ]
        for found in report["growth"]
    ]
    yield from table(rows)


def _peers(report: Report) -> Iterable[str]:
    yield f"Peers on the same stream of single values, values/s ({report['settings']['model']})"
    rows = [["", "values/s", "serve is"]]
    for found in report["peers"]:
        rate = f"{found['values_per_s']:,.0f}" if "values_per_s" in found else "-"
        rows.append([_named(found), rate, f"{found['serve_is']:,.0f} x" if found.get("serve_is", 1) != 1 else ""])
    yield from table(rows)
    for found in report["peers"]:
        yield ""
        yield f"  {found['peer']}"
        yield f"    answers with  {found['answers']}"
        yield f"    state         {found['state']}"
        yield f"    exactly once  {found['exactly_once']}"
        if "install" in found:
            yield f"    NOT MEASURED  {found['install']}"


def _named(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"{found['peer']} ({versions})" if versions else str(found["peer"])


def _rate(found: dict[str, Any]) -> str:
    return f"{found['values_per_s']:,.0f}"


def table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([f"  {first}", *others]).rstrip()
