from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import movies
import spark
from project import Project, binary, duckdb_with_iceberg, s3_environment, server_project
from servers import S3, Postgres, RestServer, postgres, rest_catalog, seaweedfs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# The servers of these tests are on this machine, whatever proxy leads out of it.
for variable in ("no_proxy", "NO_PROXY"):
    others = os.environ.get(variable)
    os.environ[variable] = ",".join(filter(None, [others, "127.0.0.1", "localhost"]))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    with seaweedfs() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one run reported, and where it left each table."""

    report: dict[str, Any]
    snapshot_ids: dict[str, int]
    metadata_locations: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Life:
    """A project that has run three times: on the file, on nothing new, on the corrections."""

    project: Project
    first: Stage
    idle: Stage
    corrected: Stage


def run_stage(project: Project) -> Stage:
    report = project.run()
    catalog = project.catalog()
    tables = {name: catalog.load_table(name) for name in movies.TABLES}
    return Stage(
        report=report,
        snapshot_ids={name: table.current_snapshot().snapshot_id for name, table in tables.items()},
        metadata_locations={name: table.metadata_location for name, table in tables.items()},
    )


@pytest.fixture(scope="session")
def rest_on_s3(
    s3_server: S3, postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RestServer]:
    """A catalog server on PostgreSQL whose tables lie on S3, and which hands out how to reach it."""
    folder = server_project(tmp_path_factory.mktemp("rest-s3") / "server")
    environment = {
        "BERGLAKE_CATALOG__URI": postgres_server.uri,
        # A catalog of its own in the same database.
        "BERGLAKE_CATALOG__NAME": "rest",
        "BERGLAKE_CATALOG__CLIENTS__SHARE_CREDENTIALS": "true",
        **s3_environment(s3_server, "rest"),
    }
    with rest_catalog(binary(), folder, environment, s3_server) as server:
        yield server


@pytest.fixture(scope="session")
def rest_on_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    """A catalog server on SQLite whose tables lie in a folder that every engine here can reach."""
    folder = server_project(tmp_path_factory.mktemp("rest-files") / "server")
    with rest_catalog(binary(), folder) as server:
        yield server


@pytest.fixture(scope="session")
def spark_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One for all tests, because a Java takes long to start; each tells it of its catalogs."""
    session = spark.session({}, tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


@pytest.fixture(scope="session", params=["local", "served", "rest"])
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Every test that takes this runs three times: on SQLite and files, on PostgreSQL and S3, and
    through the REST catalog on PostgreSQL and S3."""
    folder = tmp_path_factory.mktemp("movies") / "project"
    if request.param == "local":
        project = Project.local(folder)
    elif request.param == "rest":
        project = Project.over_rest(folder, request.getfixturevalue("rest_on_s3"))
    else:
        project = Project.served(
            folder,
            request.getfixturevalue("s3_server"),
            request.getfixturevalue("postgres_server"),
        )
    first = run_stage(project)
    idle = run_stage(project)
    project.deliver(movies.CORRECTIONS)
    corrected = run_stage(project)
    return Life(project, first, idle, corrected)


@pytest.fixture(scope="session")
def deliveries() -> list[movies.Delivery]:
    return [movies.read(movies.MOVIES), movies.read(movies.CORRECTIONS)]


@pytest.fixture(scope="session")
def duck(life: Life, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    return duckdb_with_iceberg(tmp_path_factory.mktemp("duckdb"), life.project.s3)


@pytest.fixture
def local_project(tmp_path: Path) -> Project:
    """A project of its own, which has not run yet."""
    return Project.local(tmp_path / "project")
