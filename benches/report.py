"""The record of a bench run as Markdown: times, and ratios with their spread."""

from __future__ import annotations

import dataclasses
import platform
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

IN_PROCESS, WHOLE_PROCESS = "in process", "whole process"

TITLES = {
    "append": "Append, partitioned by month",
    "full": "Full scan",
    "filtered": "Filtered scan (one week, one airport)",
    "grouped": "Group by airport",
}

# Said where a number could be taken for something that it is not.
NOTES = {
    (
        "append",
        IN_PROCESS,
    ): "DuckDB writes Iceberg only through a REST catalog, so its line is Parquet "
    "files by month without a table around them, as is that of bare-parquet.",
    (
        "full",
        WHOLE_PROCESS,
    ): "berglake is the program `berglake sql` here; bare-datafusion has to find "
    "out the files' schema as well.",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """What berglake has to reach, in process: at least this ratio to another engine."""

    operation: str
    engine: str
    least: float


TARGETS = (
    Target("append", "bare-parquet", 0.85),
    Target("append", "pyiceberg", 1.0),
    Target("full", "bare-datafusion", 0.95),
)


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


def targets(groups: dict[tuple[str, str], dict[str, dict[str, Any]]]) -> list[str]:
    rows = []
    for target in TARGETS:
        engines = groups[target.operation, IN_PROCESS]
        our, their = engines["berglake"], engines[target.engine]
        ours, theirs = our["seconds"], their["seconds"]
        low, middle, high = ratios(theirs, ours)
        # Noise on the machine takes wall time from others, but little CPU time.
        cpu, their_cpu = (statistics.median(one["cpu_seconds"]) for one in (our, their))
        rows.append(
            [
                f"{TITLES[target.operation]}, to {target.engine}",
                f"≥ {target.least:.2f}",
                f"{middle:.2f} ({low:.2f} – {high:.2f})",
                f"{min(theirs) / min(ours):.2f}",
                f"{their_cpu / cpu:.2f}" if cpu else "–",
                "reached" if middle >= target.least else "missed",
            ]
        )
    header = [
        "berglake, in process",
        "target",
        "median (min – max)",
        "of the minima",
        "of CPU time",
        "median",
    ]
    return table(header, rows)


def markdown(record: dict[str, Any]) -> str:
    setup, machine = record["setup"], record["machine"]
    lines = [
        f"# Bench of {record['date']}",
        "",
        (
            f"Commit {record['commit']}; {machine['cpu']}, {machine['cores']} cores, "
            f"{machine['memory_gib']} GiB of memory, {machine['system']}."
        ),
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
            "Times are in seconds; CPU is the median of the time that all threads computed. A ratio is the time of the column's engine divided by the time of the "
            "row's engine, repetition by repetition, as median (minimum – maximum): above 1 the row's "
            "engine is the faster one."
        ),
    ]
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for measurement in record["measurements"]:
        key = (measurement["operation"], measurement["mode"])
        groups[key][measurement["engine"]] = measurement
    lines += ["", "## Targets", "", *targets(groups), "", "What berglake's plans read:", ""]
    lines += [
        f"- {TITLES[operation].lower()}: {scan}" for operation, scan in record["scans"].items()
    ]
    for (operation, mode), engines in groups.items():
        lines += ["", f"## {TITLES[operation]}, {mode}", ""]
        header = ["engine", "median", "min", "max", "CPU", "MB read"]
        header += [f"to {name}" for name in engines]
        rows = []
        for name, measurement in engines.items():
            seconds, read = measurement["seconds"], measurement["bytes_read"]
            row = [name, *(f"{value:.3f}" for value in (measurement["median"], min(seconds)))]
            row.append(f"{max(seconds):.3f}")
            cpu = measurement["cpu_seconds"]
            row.append(f"{statistics.median(cpu):.3f}" if cpu else "–")
            row.append(f"{read / 1e6:.1f}" if read else "–")
            for other, compared in engines.items():
                if other == name:
                    row.append("–")
                    continue
                low, middle, high = ratios(compared["seconds"], seconds)
                row.append(f"{middle:.2f} ({low:.2f} – {high:.2f})")
            rows.append(row)
        lines += table(header, rows)
        if (operation, mode) in NOTES:
            lines += ["", NOTES[operation, mode]]
    return "\n".join(lines) + "\n"
