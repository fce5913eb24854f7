"""The record of a bench run as Markdown: times, and ratios with their spread."""

from __future__ import annotations

import platform
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

TITLES = {
    "append": "Append, partitioned by month",
    "full": "Full scan",
    "filtered": "Filtered scan (one week, one airport)",
    "grouped": "Group by airport",
}

# Said where a number could be taken for something that it is not.
NOTES = {
    "append": "DuckDB writes Iceberg only through a REST catalog, so its line is Parquet files by month "
    "without a table around them, as is that of bare-parquet.",
}


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def ratios(slower: list[float], faster: list[float]) -> tuple[float, float, float]:
    """Minimum, median and maximum of the ratios of the repetitions, which ran side by side."""
    found = [a / b for a, b in zip(slower, faster, strict=True)]
    return min(found), statistics.median(found), max(found)


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def markdown(record: dict[str, Any]) -> str:
    setup, machine = record["setup"], record["machine"]
    lines = [
        f"# Bench of {record['date']}",
        "",
        f"Commit {record['commit']}; {machine['cpu']}, {machine['cores']} cores, {machine['system']}.",
        (
            f"{setup['rows']:,} rows (flights-3m.parquet of vega-datasets, {setup['replication']} times), "
            f"{setup['threads']} threads, {setup['codec']}, {setup['repetitions']} repetitions, engines "
            "interleaved."
        ),
        (
            f"The queried table was written by {setup['table']['written_by']}: {setup['table']['files']} "
            f"files, {setup['table']['bytes'] / 1e6:.1f} MB."
        ),
        "",
        (
            "Times are in seconds. A ratio is the time of the column's engine divided by the time of the "
            "row's engine, repetition by repetition, as median (minimum – maximum): above 1 the row's "
            "engine is the faster one."
        ),
    ]
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for measurement in record["measurements"]:
        key = (measurement["operation"], measurement["mode"])
        groups[key][measurement["engine"]] = measurement
    for (operation, mode), engines in groups.items():
        lines += ["", f"## {TITLES[operation]}, {mode}", ""]
        header = ["engine", "median", "min", "max", "MB read", *(f"to {name}" for name in engines)]
        rows = []
        for name, measurement in engines.items():
            seconds, read = measurement["seconds"], measurement["bytes_read"]
            row = [name, *(f"{value:.3f}" for value in (measurement["median"], min(seconds)))]
            row.append(f"{max(seconds):.3f}")
            row.append(f"{read / 1e6:.1f}" if read and mode == "in process" else "–")
            for other, compared in engines.items():
                if other == name:
                    row.append("–")
                    continue
                low, middle, high = ratios(compared["seconds"], seconds)
                row.append(f"{middle:.2f} ({low:.2f} – {high:.2f})")
            rows.append(row)
        lines += table(header, rows)
        if operation in NOTES:
            lines += ["", NOTES[operation]]
    return "\n".join(lines) + "\n"
