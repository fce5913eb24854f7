"""The record of the format part as Markdown: targets, then each case with times, memory and ratios."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from report import ratios, table

Measurement = dict[str, Any]
# Case → contestant → measurement, in the order in which they were measured.
Cases = dict[str, dict[str, Measurement]]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the time of one contestant has to be, compared with that of another."""

    case: str
    ours: str
    theirs: str
    # The other one takes at least so many times as long …
    least: float | None = None
    # … or ours takes at most so many times as long.
    most: float | None = None


@dataclasses.dataclass(frozen=True)
class Exact:
    """What has to be so in each repetition, whatever the time."""

    case: str
    what: str
    detail: str
    # A number, or the detail that it has to be equal to.
    wanted: int | str


TARGETS = (
    *(
        Target(f"plan-full-{state}", f"berglake{metrics}", peer + metrics * stats, least=least)
        for state in ("cold", "fresh", "warm")
        for metrics in ("", ", all metrics")
        for peer, stats, least in (("pyiceberg", False, 20), ("spark", True, 3))
        if (state, peer) != ("cold", "spark")
    ),
    *(
        Target(f"deletes-{touched}", f"berglake, {form}", "berglake, clean", most=1.10)
        for touched in (1, 50, 100)
        for form in ("positions", "vectors")
    ),
    Target("history", "berglake, back", "berglake, head", most=1.05),
)

EXACT = (
    Exact("plan-point-cold", "manifests read", "manifests_read", "manifests_needed"),
    Exact("evolve", "data files made", "data_files_made", 0),
    Exact("delete-many", "Puffin files made", "puffin_files_made", 1),
)

# Details that stand in the tables, with their headings.
COLUMNS = {
    "manifests_read": "manifests read",
    "snapshots": "snapshots",
    "manifests": "manifests",
    "files": "files",
    "find": "to find",
    "write": "to write",
    "commit": "to commit",
    "data_files_made": "data files made",
    "puffin_files_made": "Puffin files made",
    "metadata_files_made": "metadata files made",
    "metadata_bytes_made": "KB of metadata made",
}
BYTES = ("metadata_bytes_made",)


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}"


def title(cases: Cases, case: str) -> str:
    first = next(iter(cases[case].values()))
    return f"{first['title']} ({first['mode']})"


def compared(target: Target, cases: Cases) -> list[str] | None:
    case = cases.get(target.case, {})
    our, their = case.get(target.ours), case.get(target.theirs)
    if not our or not their or not our["seconds"] or not their["seconds"]:
        return None
    ours, theirs = our["seconds"], their["seconds"]
    if target.least is not None:
        low, middle, high = ratios(theirs, ours)
        minima, bound, reached = (
            min(theirs) / min(ours),
            f"≥ {target.least:g}",
            middle >= target.least,
        )
    else:
        low, middle, high = ratios(ours, theirs)
        minima, bound, reached = (
            min(ours) / min(theirs),
            f"≤ {target.most:.2f}",
            middle <= target.most,
        )
    return [
        title(cases, target.case),
        f"{target.ours} to {target.theirs}",
        bound,
        f"{middle:.2f} ({low:.2f} – {high:.2f})",
        f"{minima:.2f}",
        "reached" if reached else "missed",
    ]


def exact(fact: Exact, cases: Cases) -> list[str] | None:
    measurement = cases.get(fact.case, {}).get("berglake")
    if not measurement or not measurement["details"]:
        return None
    found, reached = [], True
    wanted: Any = fact.wanted
    for details in measurement["details"]:
        wanted = details[fact.wanted] if isinstance(fact.wanted, str) else fact.wanted
        found.append(details[fact.detail])
        reached = reached and details[fact.detail] == wanted
    return [
        title(cases, fact.case),
        f"berglake, {fact.what}",
        f"= {wanted:,}",
        " – ".join(sorted({number(value) for value in found})),
        "–",
        "reached" if reached else "missed",
    ]


def targets(cases: Cases) -> list[str]:
    rows = [compared(target, cases) for target in TARGETS]
    rows += [exact(fact, cases) for fact in EXACT]
    header = ["work", "what", "target", "median (min – max)", "of the minima", "median"]
    return table(header, [row for row in rows if row])


def section(case: dict[str, Measurement]) -> list[str]:
    done = {name: found for name, found in case.items() if found["seconds"]}
    details = [
        key
        for key in COLUMNS
        if any(key in of_one for found in done.values() for of_one in found["details"])
    ]
    first = next(iter(case.values()))
    against = {name: done[name] for name in first["against"] or done if name in done}
    compares = len(done) > 1 and first["compared"]
    # Contestants that do different work are seen to grow from the first one to the last.
    grows = len(done) > 1 and not first["compared"]
    header = ["contestant", "median", "min", "max", "CPU", "MB read", "peak MB"]
    header += [COLUMNS[key] for key in details]
    header += [f"to {name}" for name in against] if compares else []
    header += ["times the first"] if grows else []
    rows = []
    for name, found in done.items():
        seconds, cpu, read = found["seconds"], found["cpu_seconds"], found["bytes_read"]
        row = [name, *(f"{value:.4f}" for value in (found["median"], min(seconds), max(seconds)))]
        row.append(f"{statistics.median(cpu):.2f}" if cpu else "–")
        row.append(f"{statistics.median(read) / 1e6:.1f}" if read else "–")
        row.append(f"{max(found['peak_memory']) / 1e6:.0f}" if found["peak_memory"] else "–")
        for key in details:
            values = [of_one[key] for of_one in found["details"] if key in of_one]
            middle = statistics.median_high(values) if values else None
            if middle is None:
                row.append("–")
            else:
                row.append(f"{middle / 1e3:,.1f}" if key in BYTES else number(middle))
        for other, compared_with in against.items() if compares else ():
            if other == name:
                row.append("–")
                continue
            low, middle, high = ratios(compared_with["seconds"], seconds)
            row.append(f"{middle:.2f} ({low:.2f} – {high:.2f})")
        if grows:
            low, middle, high = ratios(seconds, next(iter(done.values()))["seconds"])
            row.append(f"{middle:.2f} ({low:.2f} – {high:.2f})")
        rows.append(row)
    lines = table(header, rows)
    lines += [
        f"\n{name} cannot: {found['refused']}" for name, found in case.items() if found["refused"]
    ]
    return [*lines, "", first["note"]] if first["note"] else lines


def markdown(record: dict[str, Any]) -> str:
    setup, machine = record["setup"], record["machine"]
    lines = [
        f"# Bench of the table format, {record['date']}",
        "",
        (
            f"Commit {record['commit']}; {machine['cpu']}, {machine['cores']} cores, "
            f"{machine['memory_gib']} GiB of memory, {machine['system']}."
        ),
        (
            f"{setup['threads']} threads, contestants in turn; all of it took "
            f"{setup['seconds'] / 60:.1f} minutes."
        ),
    ]
    if setup["scale"] != 1:
        lines += ["", f"**Scaled by {setup['scale']}: the figures say nothing.**"]
    lines += [
        "",
        (
            "Times are in seconds, medians of the repetitions; CPU is the median of the time that all "
            "threads computed, peak MB the most memory that the process held. A ratio is the time of the "
            "column's contestant divided by the time of the row's, repetition by repetition, as median "
            "(minimum – maximum): above 1 the row's contestant is the faster one."
        ),
    ]
    cases: Cases = {}
    for measurement in record["measurements"]:
        cases.setdefault(measurement["case"], {})[measurement["contestant"]] = measurement
    lines += ["", "## Targets", "", *targets(cases)]
    for name, case in cases.items():
        lines += ["", f"## {title(cases, name)}", "", *section(case)]
    return "\n".join(lines) + "\n"
