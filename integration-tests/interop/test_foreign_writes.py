"""Rows that another engine appends are rows like all others."""

from __future__ import annotations

from datetime import date, datetime, timezone

import pyarrow as pa

import movies
from movies import assert_same
from project import Project

APPENDED = "True Grit (from Python)"


def append_a_film(project: Project) -> None:
    table = project.catalog().load_table("bronze.movies_raw")
    schema = table.schema().as_arrow()
    row = dict.fromkeys(schema.names)
    row |= {
        "Title": APPENDED,
        "Release Date": "Dec 23 2010",
        "Major Genre": "Western",
        "Worldwide Gross": 1000,
        "IMDB Rating": 8.0,
        "updated_at": datetime(2011, 2, 1, tzinfo=timezone.utc),
        "source_file": "pyiceberg",
        "source_row": 0,
        "ingested_at": datetime(2011, 2, 1, tzinfo=timezone.utc),
    }
    table.append(pa.Table.from_pylist([row], schema=schema))


def test_rows_appended_by_pyiceberg_are_seen_and_flow_on_through_the_next_run(
    local_project: Project,
) -> None:
    project = local_project
    project.run()
    append_a_film(project)

    seen = project.rows(f"SELECT `Title` FROM bronze.movies_raw WHERE `Title` = '{APPENDED}'")
    assert seen == [{"Title": APPENDED}]

    report = project.run()
    assert sum(flow["rows_read"] for flow in report["flows"]) > 0
    silver = project.rows(f"SELECT * FROM silver.movies_clean WHERE title = '{APPENDED}'")
    assert [(row["release_date"], row["genre"], row["revenue"]) for row in silver] == [
        (date(2010, 12, 23), "Western", 1000)
    ]
    films = [*movies.silver([movies.read(movies.MOVIES)]).values(), silver[0]]
    assert_same(
        project.rows("SELECT * FROM gold.movies_by_year_genre"),
        movies.by_year_genre(films),
        digits=9,
    )

    idle = project.run()
    assert all(flow["snapshot_id"] is None for flow in idle["flows"])


def test_a_file_that_arrives_after_a_foreign_append_is_still_read_once(
    local_project: Project,
) -> None:
    project = local_project
    project.run()
    # The foreign snapshot carries no record of the flow's progress: the flow has to find its own below.
    append_a_film(project)
    project.deliver(movies.CORRECTIONS)
    project.run()
    (count,) = project.rows("SELECT count(*) AS n FROM bronze.movies_raw")
    assert count["n"] == 3201 + 1 + 10
    expected = movies.silver([movies.read(movies.MOVIES), movies.read(movies.CORRECTIONS)])
    kept = [
        row for row in project.rows("SELECT * FROM silver.movies_clean") if row["title"] != APPENDED
    ]
    assert_same(kept, expected.values())
