"""Spark with the Iceberg runtime, as a PySpark session: what it needs and how it is told of a catalog.

PySpark comes with the Python packages, its Iceberg runtime from Maven Central through the Maven client.
Spark needs a Java; where none is found, that is an error: a test that skips proves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from servers import RestServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RUNTIME = ("org.apache.iceberg", "iceberg-spark-runtime-4.1_2.13", "1.12.0")
AWS_BUNDLE = ("org.apache.iceberg", "iceberg-aws-bundle", "1.12.0")
MAVEN_GET = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get"
TIMEOUT = 600


def java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if not found:
        raise RuntimeError("Spark needs Java 17 or newer: apt-get install openjdk-17-jre-headless")
    return found


def jar(group: str, artifact: str, version: str) -> Path:
    """A jar in Maven's own repository of this machine, fetched when it is not there yet."""
    repository = Path.home() / ".m2" / "repository"
    path = repository.joinpath(*group.split("."), artifact, version, f"{artifact}-{version}.jar")
    if path.exists():
        return path
    maven = shutil.which("mvn")
    if not maven:
        raise RuntimeError(f"{path.name} is missing and Maven too: apt-get install maven")
    command = [maven, "--batch-mode", "--quiet", MAVEN_GET]
    command += [f"-Dartifact={group}:{artifact}:{version}", "-Dtransitive=false"]
    # Java takes the home of the user's entry in the system, whatever HOME says.
    command.append(f"-Dmaven.repo.local={repository}")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT)
    if not path.exists():
        raise RuntimeError(f"Maven did not bring {path.name}:\n{done.stdout}\n{done.stderr}")
    return path


def session(catalogs: dict[str, RestServer], folder: Path) -> SparkSession:
    """One session for all catalogs; each is known by its name in here."""
    java()
    from pyspark.sql import SparkSession

    builder = (
        SparkSession.builder.master("local[2]")
        .appName("berglake-interop")
        .config("spark.jars", ",".join(str(jar(*it)) for it in (RUNTIME, AWS_BUNDLE)))
        .config(
            "spark.sql.extensions",
            "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        )
        .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.memory", "1g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
    )
    session = builder.getOrCreate()
    for name, server in catalogs.items():
        connect(session, name, server)
    return session


def connect(session: SparkSession, name: str, server: RestServer) -> None:
    """Tells a session of a catalog; one that it knows already stays as it is."""
    prefix = f"spark.sql.catalog.{name}"
    settings = {
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        f"{prefix}.type": "rest",
        f"{prefix}.uri": server.uri,
        f"{prefix}.token": server.token,
        # Tables are to be seen as other engines have left them.
        f"{prefix}.cache-enabled": "false",
    }
    if server.s3 is not None:
        settings[f"{prefix}.io-impl"] = "org.apache.iceberg.aws.s3.S3FileIO"
    for key, value in settings.items():
        session.conf.set(key, value)
