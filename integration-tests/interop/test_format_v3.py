"""The movies project on format version 3, where deleted rows are deletion vectors."""

from __future__ import annotations

import duckdb
import pytest
from pyiceberg.catalog import Catalog

import movies
from movies import assert_same
from project import Project, duckdb_with_iceberg


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.local(tmp_path_factory.mktemp("v3") / "project")
    config = project.folder / "berglake.toml"
    text = config.read_text()
    assert text.count("[defaults]\n") == 1
    config.write_text(text.replace("[defaults]\n", '[defaults]\n"format-version" = "3"\n'))
    project.run()
    project.deliver(movies.CORRECTIONS)
    project.run()
    return project


@pytest.fixture(scope="module")
def catalog(project: Project) -> Catalog:
    return project.catalog()


def test_all_tables_are_of_version_3_and_deletes_are_deletion_vectors(
    project: Project, catalog: Catalog
) -> None:
    for name in movies.TABLES:
        assert catalog.load_table(name).format_version == 3
    deletes = project.rows(
        "SELECT file_format, record_count, referenced_data_file, content_size_in_bytes "
        'FROM silver."movies_clean$files" WHERE content = 1'
    )
    assert sum(row["record_count"] for row in deletes) == 6
    for row in deletes:
        assert row["file_format"] == "PUFFIN"
        assert row["referenced_data_file"] and row["content_size_in_bytes"] > 0


@pytest.mark.parametrize("table", [*movies.TABLES, "bronze.movies_errors"])
def test_pyiceberg_reads_what_berglake_sql_reads(
    project: Project, catalog: Catalog, table: str
) -> None:
    found = catalog.load_table(table).scan().to_arrow().to_pylist()
    assert_same(project.rows(f"SELECT * FROM {table}"), found)


@pytest.mark.parametrize("table", movies.TABLES)
def test_duckdb_reads_what_berglake_sql_reads(
    project: Project, catalog: Catalog, tmp_path_factory: pytest.TempPathFactory, table: str
) -> None:
    duck: duckdb.DuckDBPyConnection = duckdb_with_iceberg(tmp_path_factory.mktemp("duck"), None)
    location = catalog.load_table(table).metadata_location
    found = duck.execute("SELECT * FROM iceberg_scan(?)", [location]).to_arrow_table().to_pylist()
    assert_same(project.rows(f"SELECT * FROM {table}"), found)


def test_silver_and_gold_equal_an_independent_computation(project: Project) -> None:
    films = movies.silver([movies.read(movies.MOVIES), movies.read(movies.CORRECTIONS)]).values()
    assert_same(project.rows("SELECT * FROM silver.movies_clean"), films)
    gold = project.rows("SELECT * FROM gold.movies_by_year_genre")
    assert_same(gold, movies.by_year_genre(films), digits=9)
