"""Brings up deploy/docker-compose.yml as a person would, uses it, disturbs it and takes it down.

Two examples run one after the other in the same stack, each from Kafka to gold. What their tables must
hold is computed from the produced files alone, and compared with what the query service, Trino,
PyIceberg, DuckDB and Spark read through the REST catalog.

`make smoke` builds what it needs and runs it. It has a compose project, ports and secrets of its own, so
that a stack that is running stays untouched. Needs Docker and the environment of `make interop`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the examples must come to is computed there.
sys.path.insert(0, str(ROOT / "integration-tests/interop"))

import health
import movies
from engines import Engines, Row
from stack import Stack, docker, until

# How long a record may take to gold on a machine that is busy with other things.
PATIENCE = 180
Say = Callable[[str], None]


def main() -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"smoke {time.monotonic() - started:6.1f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            use(stack, Path(folder), say)
        except BaseException:
            print(stack.compose("ps", "--all", check=False), file=sys.stderr)
            print(stack.compose("logs", "--no-color", "--tail", "80", check=False), file=sys.stderr)
            raise
        finally:
            stack.compose("down", "--volumes", "--timeout", "5", check=False)
        left = stack.leftovers()
        if left:
            sys.exit(f"left behind: {left}")
        say("taken down, nothing is left")
    print(f"smoke: passed in {time.monotonic() - started:.0f} s")


def use(stack: Stack, folder: Path, say: Say) -> None:
    # Engines outside of the stack reach the store as the catalog says.
    stack.set({"SHARE_STORAGE_KEYS": "true"})
    stack.up()
    say("all services are healthy")
    engines = Engines(stack, folder)
    try:
        use_movies(stack, engines, say)
        use_health(stack, engines, say)
    finally:
        engines.close()

    for line in stack.memory():
        print(f"    {line}")
    stack.compose("stop")
    codes = stack.exit_codes()
    wrong = {service: code for service, code in codes.items() if code != 0}
    if wrong:
        sys.exit(f"these did not end in good order: {wrong}")
    say("stopped in good order")


def use_movies(stack: Stack, engines: Engines, say: Say) -> None:
    """The example that the stack runs when nobody says otherwise, with corrections amid disturbances."""
    first, corrections = movies.read(movies.MOVIES), movies.read(movies.CORRECTIONS)
    stack.produce("movies", movies.MOVIES, "Title")
    say(f"{len(first.records)} films produced")
    compare_movies(engines, [first], say)

    # Two are restarted in good order, one is killed and comes back by itself.
    stack.compose("restart", "silver", "catalog")
    docker("kill", "--signal", "KILL", stack.container("bronze"))
    docker("start", stack.container("bronze"))
    say("silver and catalog restarted, bronze killed")
    stack.produce("movies", movies.CORRECTIONS, "Title")
    compare_movies(engines, [first, corrections], say)


def compare_movies(engines: Engines, deliveries: list[movies.Delivery], say: Say) -> None:
    raw = movies.bronze(deliveries)
    films = list(movies.silver(deliveries).values())
    dead = sum(delivery.dead_letters for delivery in deliveries)
    expected = {
        "silver.movies_clean": films,
        "gold.movies_by_year_genre": movies.by_year_genre(films),
        "gold.top_movies": movies.top_movies(films),
    }

    def arrived() -> bool:
        return engines.count("bronze.movies_raw") == len(raw) and (
            dead == 0 or engines.count("bronze.movies_errors") == dead
        )

    def settled() -> bool:
        return all(
            same_movies(engines.query(f"SELECT * FROM {table}"), rows)
            for table, rows in expected.items()
        )

    until("every film is in bronze or a dead letter", PATIENCE, arrived)
    until("silver and gold are those of the films that were produced", PATIENCE, settled)
    say(f"{len(raw)} films in bronze, {dead} dead letters; silver and gold as computed")
    for name, read in engines.readers().items():
        for table, rows in expected.items():
            found = read(table)
            if not same_movies(found, rows):
                sys.exit(f"{name} reads {table} otherwise: {movies_difference(found, rows)}")
        in_bronze = len(read("bronze.movies_raw"))
        if in_bronze != len(raw):
            sys.exit(f"{name} reads {in_bronze} rows of bronze.movies_raw, not {len(raw)}")
    rows = sum(map(len, expected.values()))
    say(f"{', '.join(engines.readers())} read these {rows} rows of silver and gold alike")


# Means are compared to the digit that the order of addition leaves alone.
DIGITS = 9


def same_movies(found: Iterable[Row], expected: Iterable[Row]) -> bool:
    return movies.multiset(found, DIGITS) == movies.multiset(expected, DIGITS)


def movies_difference(found: Iterable[Row], expected: Iterable[Row]) -> str:
    return movies.difference(movies.multiset(found, DIGITS), movies.multiset(expected, DIGITS))


AGGREGATES = {
    "gold.health_data_daily_agg": (health.daily, ("user_id", "data_type", "aggregation_date")),
    "gold.health_data_weekly_agg": (health.weekly, ("user_id", "data_type", "week_start_date")),
    "gold.health_data_monthly_agg": (health.monthly, ("user_id", "data_type", "month_start_date")),
}


def use_health(stack: Stack, engines: Engines, say: Say) -> None:
    """Another project in the running stack: its tables come beside those that are there."""
    stack.set({"BERGLAKE_PROJECT_DIR": "../examples/health-kafka"})
    stack.up()
    say("the stack runs the health example")
    deliveries = [health.read(health.FIRST)]
    stack.produce("health-data", health.FIRST, "user_id")
    compare_health(engines, deliveries, say)

    # Both may die at any time; late samples change groups that have been aggregated before.
    for role in ("gold", "bronze"):
        docker("kill", "--signal", "KILL", stack.container(role))
        docker("start", stack.container(role))
    say("gold and bronze killed")
    deliveries.append(health.read(health.LATE))
    stack.produce("health-data", health.LATE, "user_id")
    compare_health(engines, deliveries, say)


def compare_health(engines: Engines, deliveries: list[health.Delivery], say: Say) -> None:
    samples = [sample for delivery in deliveries for sample in delivery.samples]
    payloads = sorted(
        row["raw_payload"] for delivery in deliveries for row in delivery.errors.values()
    )

    def arrived() -> bool:
        return engines.count("bronze.health_data_raw") == len(samples) and engines.count(
            "bronze.health_data_errors"
        ) == len(payloads)

    def settled() -> bool:
        raw = engines.query("SELECT * FROM bronze.health_data_raw")
        for table, (compute, key) in AGGREGATES.items():
            health.assert_same(engines.query(f"SELECT * FROM {table}"), compute(raw), key)
        return True

    until("every sample is in bronze or an error", PATIENCE, arrived)
    until("gold is that of the samples", PATIENCE, settled)
    say(f"{len(samples)} samples in bronze, {len(payloads)} errors; gold as computed")
    rows = 0
    for name, read in engines.readers().items():
        raw = read("bronze.health_data_raw")
        taken = [{k: v for k, v in row.items() if k != "processing_time"} for row in raw]
        if sorted(taken, key=str) != sorted(samples, key=str):
            sys.exit(f"{name} reads other samples than were produced")
        errors = read("bronze.health_data_errors")
        places = {(row["kafka_partition"], row["kafka_offset"]) for row in errors}
        if len(places) != len(errors) or sorted(e["raw_payload"] for e in errors) != payloads:
            sys.exit(f"{name} reads other errors than were produced")
        rows = len(raw) + len(errors)
        for table, (compute, key) in AGGREGATES.items():
            found = read(table)
            rows += len(found)
            try:
                health.assert_same(found, compute(raw), key)
            except AssertionError as error:
                sys.exit(f"{name} reads {table} otherwise: {error}")
    say(f"{', '.join(engines.readers())} read these {rows} rows of bronze and gold alike")


if __name__ == "__main__":
    main()
