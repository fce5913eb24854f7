"""A berglake project in a folder, and the foreign engines that open the same tables."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog

import movies
from servers import S3, Postgres, RestServer, inherited_environment

CATALOG_NAME = "berglake"
TIMEOUT = 300


def binary() -> Path:
    path = os.environ.get("BERGLAKE_BIN")
    if not path:
        raise RuntimeError("BERGLAKE_BIN does not name the berglake binary; run `make interop`")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"BERGLAKE_BIN={path} is no program that can be run")
    return Path(path)


@dataclasses.dataclass(frozen=True)
class Project:
    folder: Path
    # Secrets reach berglake by its environment alone, as they would in production.
    environment: Mapping[str, str]
    pyiceberg_properties: Mapping[str, str]
    s3: S3 | None = None

    @classmethod
    def of_example(cls, folder: Path, example: Path) -> Project:
        """An example that runs on SQLite and local files, with the data files beside it."""
        (folder / "data").mkdir(parents=True)
        shutil.copy(example / "berglake.toml", folder)
        shutil.copytree(example / "pipelines", folder / "pipelines")
        for file in (example / "data").iterdir():
            if file.is_file():
                shutil.copy(file, folder / "data")
        return cls(folder, {}, local_properties(folder))

    @classmethod
    def local(cls, folder: Path) -> Project:
        """SQLite and local files, exactly as the example ships."""
        copy_example(folder)
        return cls(folder, {}, local_properties(folder))

    @classmethod
    def served(cls, folder: Path, s3: S3, postgres: Postgres) -> Project:
        """The same pipelines, with the warehouse on S3 and the catalog on PostgreSQL."""
        copy_example(folder)
        environment = {"BERGLAKE_CATALOG__URI": postgres.uri, **s3_environment(s3, "movies")}
        properties = {
            "type": "sql",
            "uri": postgres.sqlalchemy_uri,
            "warehouse": environment["BERGLAKE_STORAGE__WAREHOUSE"],
            **s3.pyiceberg_properties(),
        }
        return cls(folder, environment, properties, s3)

    @classmethod
    def over_rest(cls, folder: Path, server: RestServer) -> Project:
        """The same pipelines on a catalog that another process serves. Where the tables lie, and how
        the store is reached, is what the server hands out: nothing of it is configured here."""
        copy_example(folder)
        environment = {
            "BERGLAKE_CATALOG__URI": server.uri,
            "BERGLAKE_CATALOG__TOKEN": server.token,
        }
        return cls(folder, environment, server.pyiceberg_properties(), server.s3)

    def call(self, *arguments: str, expect_code: int = 0) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [str(binary()), "--project", str(self.folder), *arguments],
            env={**inherited_environment(), **self.environment},
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == expect_code, (
            f"berglake {' '.join(arguments)} exited with {done.returncode}\n"
            f"{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}"
        )
        return done

    def run(self) -> dict[str, Any]:
        """The machine-readable report of `berglake run`."""
        return json.loads(self.call("run", "--output", "json").stdout)

    def info(self) -> dict[str, Any]:
        return json.loads(self.call("info", "--output", "json").stdout)

    def sql(self, statement: str) -> pa.Table:
        """The typed result of a query, as an Arrow IPC stream."""
        output = self.call("sql", "--output", "arrow", "-c", statement).stdout
        return pa.ipc.open_stream(output).read_all()

    def sql_command(self, statement: str) -> None:
        """A statement that is no query."""
        self.call("sql", "-c", statement)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        return self.sql(statement).to_pylist()

    def catalog(self) -> Catalog:
        """PyIceberg on the same catalog: on its database with no berglake in between, or on the
        server."""
        return load_catalog(CATALOG_NAME, **self.pyiceberg_properties)

    def deliver(self, source: Path) -> None:
        shutil.copy(source, self.folder / "data" / source.name)


def local_properties(folder: Path) -> dict[str, str]:
    return {
        "type": "sql",
        "uri": f"sqlite:///{folder}/.berglake/catalog.db",
        "warehouse": f"file://{folder}/.berglake/warehouse",
    }


def copy_example(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    shutil.copy(movies.EXAMPLE / "berglake.toml", folder)
    shutil.copytree(movies.EXAMPLE / "pipelines", folder / "pipelines")
    shutil.copy(movies.MOVIES, folder / "data")


def s3_environment(s3: S3, prefix: str) -> dict[str, str]:
    """A warehouse on S3, as berglake is told of it."""
    return {
        "BERGLAKE_STORAGE__WAREHOUSE": f"s3://{s3.bucket}/{prefix}",
        "BERGLAKE_STORAGE__S3__ENDPOINT": s3.endpoint,
        "BERGLAKE_STORAGE__S3__REGION": s3.region,
        "BERGLAKE_STORAGE__S3__ACCESS_KEY_ID": s3.access_key_id,
        "BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY": s3.secret_access_key,
        "BERGLAKE_STORAGE__S3__PATH_STYLE": "true",
        "BERGLAKE_STORAGE__S3__ALLOW_HTTP": "true",
    }


def server_project(folder: Path) -> Path:
    """The project of a catalog server: it has no pipelines, only a place."""
    folder.mkdir(parents=True)
    (folder / "berglake.toml").write_text('[project]\nname = "catalog"\n')
    return folder


def install_duckdb_extensions(folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB's Iceberg extension from the package registry, not from its own download site."""
    connection = duckdb.connect(config={"extension_directory": str(folder)})
    for name in ("avro", "httpfs", "iceberg"):
        package = importlib.import_module(f"duckdb_extension_{name}")
        file = (
            Path(package.__file__).parent
            / "extensions"
            / f"v{duckdb.__version__}"
            / f"{name}.duckdb_extension"
        )
        connection.execute(f"INSTALL '{file}'")
    return connection


def duckdb_with_iceberg(extensions: Path, s3: S3 | None) -> duckdb.DuckDBPyConnection:
    connection = install_duckdb_extensions(extensions)
    for name in ("avro", "httpfs", "iceberg"):
        connection.execute(f"LOAD {name}")
    connection.execute("SET TimeZone = 'UTC'")
    if s3 is not None:
        endpoint = s3.endpoint.removeprefix("http://")
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{s3.access_key_id}', "
            f"SECRET '{s3.secret_access_key}', ENDPOINT '{endpoint}', REGION '{s3.region}', "
            "URL_STYLE 'path', USE_SSL false)"
        )
    return connection
