"""The health project against an independent computation, read by PyIceberg.

`life` is a project after its first run and after late samples, which fall into weeks, days and months
that had been aggregated before.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

import health
from project import Project

AGGREGATES = {
    "gold.health_data_daily_agg": (health.daily, ("user_id", "data_type", "aggregation_date")),
    "gold.health_data_weekly_agg": (health.weekly, ("user_id", "data_type", "week_start_date")),
    "gold.health_data_monthly_agg": (health.monthly, ("user_id", "data_type", "month_start_date")),
}

STATISTICS = (
    *("window_start timestamptz!", "window_end timestamptz!", "min_value double!"),
    *("max_value double!", "avg_value double!", "sum_value double!", "count long!"),
    "stddev_value double!",
)
AT_THE_END = ("record_count long!", "updated_at timestamptz!")

# Columns with types, `!` where they are required, and the partitioning: section by section as the
# system that this example is of wrote them down.
LAYOUTS = {
    "bronze.health_data_raw": (
        (
            *("device_id string!", "user_id string!", "sample_id string!", "data_type string!"),
            *("value double!", "unit string!", "start_date timestamptz!", "end_date timestamptz!"),
            *("source_bundle string", "metadata map<string, string>", "is_synced boolean!"),
            *("created_at timestamptz!", "payload_timestamp timestamptz!", "app_version string!"),
            "processing_time timestamptz!",
        ),
        ("day(start_date)", "identity(data_type)"),
    ),
    "bronze.health_data_errors": (
        (
            *("error_id string!", "error_type string!", "error_message string!"),
            *("error_timestamp timestamptz!", "raw_payload string", "user_id string"),
            *("device_id string", "sample_id string", "data_type string"),
            *("kafka_topic string!", "kafka_partition long!", "kafka_offset long!"),
        ),
        ("day(error_timestamp)", "identity(error_type)"),
    ),
    "gold.health_data_daily_agg": (
        (
            *("user_id string!", "data_type string!", "aggregation_date string!", *STATISTICS),
            *("first_value double", "last_value double", *AT_THE_END),
        ),
        ("identity(user_id)", "identity(aggregation_date)", "identity(data_type)"),
    ),
    "gold.health_data_weekly_agg": (
        (
            *("user_id string!", "data_type string!", "week_start_date string!"),
            *("week_end_date string!", "year long!", "week_of_year long!", *STATISTICS),
            *("daily_avg_of_avg double", *AT_THE_END),
        ),
        ("identity(user_id)", "identity(year)", "identity(week_of_year)", "identity(data_type)"),
    ),
    "gold.health_data_monthly_agg": (
        (
            *("user_id string!", "data_type string!", "year long!", "month long!"),
            *("month_start_date string!", "month_end_date string!", *STATISTICS),
            *("daily_avg_of_avg double", *AT_THE_END),
        ),
        ("identity(user_id)", "identity(year)", "identity(month)", "identity(data_type)"),
    ),
}

PROPERTIES = {
    "write.parquet.compression-codec": "snappy",
    "write.target-file-size-bytes": str(256 * 1024 * 1024),
    "write.parquet.row-group-size-bytes": str(128 * 1024 * 1024),
    "write.parquet.page-size-bytes": str(1024 * 1024),
}


@dataclasses.dataclass(frozen=True)
class Life:
    project: Project
    first: dict[str, int]
    late: dict[str, int]


def heads(project: Project) -> dict[str, int]:
    catalog = project.catalog()
    tables = {name: catalog.load_table(name) for name in health.TABLES}
    return {name: table.current_snapshot().snapshot_id for name, table in tables.items()}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    project = Project.of_example(tmp_path_factory.mktemp("health") / "project", health.EXAMPLE)
    report = project.run()
    assert {flow["status"] for flow in report["flows"]} == {"updated"}
    first = heads(project)
    project.deliver(health.LATE)
    project.run()
    return Life(project, first, heads(project))


@pytest.fixture(scope="module")
def catalog(life: Life) -> Catalog:
    return life.project.catalog()


def scan(catalog: Catalog, table: str, snapshot_id: int | None = None) -> list[dict[str, Any]]:
    return catalog.load_table(table).scan(snapshot_id=snapshot_id).to_arrow().to_pylist()


def deliveries(stage: str) -> list[tuple[Path, health.Delivery]]:
    paths = [health.FIRST] if stage == "first" else [health.FIRST, health.LATE]
    return [(path, health.read(path)) for path in paths]


def raw(catalog: Catalog, snapshot_id: int) -> list[health.Row]:
    rows = scan(catalog, "bronze.health_data_raw", snapshot_id)
    for row in rows:
        row["metadata"] = None if row["metadata"] is None else sorted(row["metadata"])
    return rows


@pytest.mark.parametrize("table", health.TABLES)
def test_the_table_is_laid_out_as_written_down(catalog: Catalog, table: str) -> None:
    loaded = catalog.load_table(table)
    columns, partitioning = LAYOUTS[table]
    found = [f"{f.name} {f.field_type}{'!' if f.required else ''}" for f in loaded.schema().fields]
    assert found == list(columns)
    assert tuple(partitions(loaded)) == partitioning
    assert loaded.properties.items() >= PROPERTIES.items()


def partitions(table: Table) -> list[str]:
    names = {field.field_id: field.name for field in table.schema().fields}
    return [f"{field.transform}({names[field.source_id]})" for field in table.spec().fields]


@pytest.mark.parametrize("stage", ["first", "late"])
def test_every_record_is_a_sample_or_an_error_once(
    life: Life, catalog: Catalog, stage: str
) -> None:
    at = life.first if stage == "first" else life.late
    found = raw(catalog, at["bronze.health_data_raw"])
    taken = [{k: v for k, v in row.items() if k != "processing_time"} for row in found]
    expected = [sample for _, delivery in deliveries(stage) for sample in delivery.samples]
    assert sorted(taken, key=str) == sorted(expected, key=str)

    errors = scan(catalog, "bronze.health_data_errors", at["bronze.health_data_errors"])
    placed = {(Path(row["kafka_topic"]).name, row["kafka_offset"]): row for row in errors}
    assert len(placed) == len(errors)
    expected_errors = {
        (path.name, number): row
        for path, delivery in deliveries(stage)
        for number, row in delivery.errors.items()
    }
    assert placed.keys() == expected_errors.keys()
    assert len(expected_errors) > 5
    for place, row in expected_errors.items():
        other = placed[place]
        assert {name: other[name] for name in row} == row
        assert other["kafka_partition"] == 0
        identity = f"{other['kafka_topic']}:{other['kafka_partition']}:{other['kafka_offset']}"
        assert other["error_id"] == hashlib.sha256(identity.encode()).hexdigest()


@pytest.mark.parametrize("stage", ["first", "late"])
@pytest.mark.parametrize("table", AGGREGATES)
def test_the_aggregates_are_those_of_the_samples(
    life: Life, catalog: Catalog, table: str, stage: str
) -> None:
    at = life.first if stage == "first" else life.late
    compute, key = AGGREGATES[table]
    expected = compute(raw(catalog, at["bronze.health_data_raw"]))
    health.assert_same(scan(catalog, table, at[table]), expected, key)


def test_the_turns_of_the_years_are_among_them(life: Life, catalog: Catalog) -> None:
    weeks = {
        (row["year"], row["week_of_year"], row["week_start_date"])
        for row in scan(catalog, "gold.health_data_weekly_agg")
    }
    assert (2020, 53, "2020-12-28") in weeks
    assert (2025, 1, "2024-12-30") in weeks
    assert (2021, 1, "2021-01-04") in weeks
    days = scan(catalog, "gold.health_data_daily_agg")
    alone = [row for row in days if row["count"] == 1]
    assert alone
    assert {row["stddev_value"] for row in alone} == {0.0}


def test_late_samples_change_their_groups_and_no_others(life: Life, catalog: Catalog) -> None:
    table = "gold.health_data_daily_agg"
    key = ("user_id", "data_type", "aggregation_date")
    before, after = (
        {tuple(row[name] for name in key): row for row in scan(catalog, table, at[table])}
        for at in (life.first, life.late)
    )
    late = {
        (sample["user_id"], sample["data_type"], sample["start_date"].date().isoformat())
        for sample in health.read(health.LATE).samples
    }
    assert late & before.keys()
    changed = {place for place, row in after.items() if before.get(place) != row}
    assert changed == late
