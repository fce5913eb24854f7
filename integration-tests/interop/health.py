"""What the health project must come to, computed from its source files by nothing but Python.

The values of the samples are multiples of a quarter, so sums and means are exact in any order of
addition; only standard deviations, which take a root, are compared with a tolerance.
"""

from __future__ import annotations

import base64
import calendar
import dataclasses
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "health"
FIRST = EXAMPLE / "data" / "health-1.ndjson"
LATE = EXAMPLE / "data" / "late" / "health-2.ndjson"

TABLES = (
    "bronze.health_data_raw",
    "bronze.health_data_errors",
    "gold.health_data_daily_agg",
    "gold.health_data_weekly_agg",
    "gold.health_data_monthly_agg",
)

TIMES = ("start_date", "end_date", "created_at", "payload_timestamp")
REQUIRED = (
    *("device_id", "user_id", "sample_id", "data_type", "value", "unit"),
    *("is_synced", "app_version", *TIMES),
)
IDS = ("user_id", "device_id", "sample_id", "data_type")

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Delivery:
    samples: list[Row]
    # By the number of the record in its file: the payload as text, and the ids that it names.
    errors: dict[int, Row]


def read(path: Path) -> Delivery:
    samples: list[Row] = []
    errors: dict[int, Row] = {}
    for number, line in enumerate(path.read_bytes().splitlines()):
        sample = parsed(line)
        if sample is None:
            errors[number] = error(line)
        else:
            samples.append(sample)
    return Delivery(samples, errors)


def parsed(line: bytes) -> Row | None:
    try:
        record = json.loads(line.decode("utf-8"))
        if not isinstance(record, dict) or any(record.get(name) is None for name in REQUIRED):
            return None
        if not isinstance(record["value"], (int, float)):
            return None
        times = {name: moment(record[name]) for name in TIMES}
    except (UnicodeDecodeError, json.JSONDecodeError, ValueError):
        return None
    metadata = record.get("metadata")
    return {
        **record,
        **times,
        "source_bundle": record.get("source_bundle"),
        "metadata": None if metadata is None else sorted(metadata.items()),
    }


def error(line: bytes) -> Row:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        payload = "base64:" + base64.b64encode(line).decode("ascii")
        return {"raw_payload": payload, **dict.fromkeys(IDS)}
    try:
        record = json.loads(text)
    except json.JSONDecodeError:
        record = None
    found = record if isinstance(record, dict) else {}
    return {"raw_payload": text, **{name: found.get(name) for name in IDS}}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def by_window(
    samples: Iterable[Row], window: Callable[[date], date]
) -> dict[tuple[str, str, date], list[Row]]:
    groups: dict[tuple[str, str, date], list[Row]] = defaultdict(list)
    for sample in samples:
        start = window(sample["start_date"].date())
        groups[(sample["user_id"], sample["data_type"], start)].append(sample)
    return groups


def statistics_of(samples: list[Row]) -> Row:
    values = [Fraction(sample["value"]) for sample in samples]
    return {
        "min_value": float(min(values)),
        "max_value": float(max(values)),
        "avg_value": float(sum(values) / len(values)),
        "sum_value": float(sum(values)),
        "count": len(values),
        "stddev_value": statistics.pstdev([float(value) for value in values]),
        "record_count": len(values),
        "updated_at": max(sample["processing_time"] for sample in samples),
    }


def mean_of_daily_means(samples: list[Row]) -> float:
    days: dict[date, list[Fraction]] = defaultdict(list)
    for sample in samples:
        days[sample["start_date"].date()].append(Fraction(sample["value"]))
    return float(sum(sum(day) / len(day) for day in days.values()) / len(days))


def daily(samples: Iterable[Row]) -> list[Row]:
    rows = []
    for (user, kind, day), group in by_window(samples, lambda day: day).items():
        order = sorted(group, key=lambda sample: (sample["start_date"], sample["sample_id"]))
        rows.append(
            {
                "user_id": user,
                "data_type": kind,
                "aggregation_date": day.isoformat(),
                "window_start": midnight(day),
                "window_end": midnight(day + timedelta(days=1)),
                **statistics_of(group),
                "first_value": order[0]["value"],
                "last_value": order[-1]["value"],
            }
        )
    return rows


def weekly(samples: Iterable[Row]) -> list[Row]:
    rows = []
    monday_of = lambda day: day - timedelta(days=day.weekday())
    for (user, kind, monday), group in by_window(samples, monday_of).items():
        year, week, _ = monday.isocalendar()
        rows.append(
            {
                "user_id": user,
                "data_type": kind,
                "week_start_date": monday.isoformat(),
                "week_end_date": (monday + timedelta(days=6)).isoformat(),
                "year": year,
                "week_of_year": week,
                "window_start": midnight(monday),
                "window_end": midnight(monday + timedelta(days=7)),
                **statistics_of(group),
                "daily_avg_of_avg": mean_of_daily_means(group),
            }
        )
    return rows


def monthly(samples: Iterable[Row]) -> list[Row]:
    rows = []
    for (user, kind, first), group in by_window(samples, lambda day: day.replace(day=1)).items():
        last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        rows.append(
            {
                "user_id": user,
                "data_type": kind,
                "year": first.year,
                "month": first.month,
                "month_start_date": first.isoformat(),
                "month_end_date": last.isoformat(),
                "window_start": midnight(first),
                "window_end": midnight(last + timedelta(days=1)),
                **statistics_of(group),
                "daily_avg_of_avg": mean_of_daily_means(group),
            }
        )
    return rows


def assert_same(found: list[Row], expected: list[Row], key: tuple[str, ...]) -> None:
    """The same rows: exactly, but for what a root or a mean of means may round in its last digit."""

    def keyed(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
        by_key = {tuple(row[name] for name in key): row for row in rows}
        assert len(by_key) == len(rows), "a key occurs twice"
        return by_key

    found_by, expected_by = keyed(found), keyed(expected)
    assert found_by.keys() == expected_by.keys()
    for place, row in expected_by.items():
        other = found_by[place]
        assert other.keys() == row.keys()
        for name, value in row.items():
            if name in ("stddev_value", "daily_avg_of_avg"):
                # The root of a variance of 0 would show any rounding as a large number.
                assert abs(other[name] - value) <= 1e-9 * max(1.0, abs(value)), (place, name)
            else:
                assert other[name] == value, (place, name)
