"""Runs the REST Compatibility Kit of Apache Iceberg against `berglake serve catalog`.

The kit is Java's own test suite of catalogs, behind Java's REST client. It runs once per backend, each
time on an empty catalog behind a bearer token, and must fail in exactly the tests that
`known-failures.txt` lists with their reasons.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))

from servers import postgres, rest_catalog, temporary_folder

SUITE = "org.apache.iceberg.rest.RESTCompatibilityKitSuite"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
SUITE_TIMEOUT = 1800
# What the kit of pom.xml's version has. With fewer the kit broke off, or was not found in part.
TESTS = 157
# JUnit's launcher ends with these when all tests passed and when some failed; all else is no result.
ALL_PASSED, SOME_FAILED = 0, 1
# The kit asks for tables below this folder; nothing lies outside of the warehouse.
WAREHOUSE = Path("/tmp")
NAMESPACES = ["a", "b", "ns", "ns1", "ns2", "ns_1", "ns_2", "newdb", "other_ns"]
LOCK = WAREHOUSE / "berglake-rck.lock"
# In each folder that this program has made, and in no other.
MARK = ".made-by-berglake-rck"


class Missing(Exception):
    """Something that the kit needs is not on this machine."""


@dataclasses.dataclass(frozen=True)
class Result:
    backend: str
    seconds: float
    exit_code: int
    passed: set[str]
    failed: dict[str, str]
    aborted: set[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--work", type=Path, required=True, help="where logs and reports stay")
    parser.add_argument("--berglake", type=Path, default=os.environ.get("BERGLAKE_BIN"))
    arguments = parser.parse_args()
    try:
        if arguments.berglake is None or not os.access(arguments.berglake, os.X_OK):
            raise Missing("BERGLAKE_BIN does not name the berglake binary; run `make rck`")
        arguments.work.mkdir(parents=True, exist_ok=True)
        java, classpath = find_java(), find_classpath(arguments.work)
        with only_run():
            results = [
                run(backend, arguments.berglake, java, classpath, arguments.work)
                for backend in arguments.backend or ["sqlite", "postgresql"]
            ]
    except (Missing, FileNotFoundError) as error:
        print(f"the compatibility kit cannot run: {error}", file=sys.stderr)
        return 2
    return report(results, known_failures())


def find_java() -> Path:
    """Java 17, which the kit's Hadoop needs: newer ones have no security manager."""
    candidates = [os.environ.get("RCK_JAVA")] if os.environ.get("RCK_JAVA") else []
    candidates += sorted(str(path) for path in Path("/usr/lib/jvm").glob("*17*/bin/java"))
    found = shutil.which("java")
    candidates += [found] if found else []
    for candidate in candidates:
        version = subprocess.run([candidate, "-version"], check=False, capture_output=True)
        if re.search(rb'version "17\.', version.stderr):
            return Path(candidate)
    raise Missing(
        "no Java 17; install one (Debian: openjdk-17-jre-headless), or name it in RCK_JAVA"
    )


def find_classpath(work: Path) -> str:
    """What `pom.xml` names, by Maven; asked again only when it has changed."""
    pom, file = HERE / "pom.xml", work / "classpath"
    if file.exists() and file.stat().st_mtime > pom.stat().st_mtime:
        classpath = file.read_text()
        if all(Path(jar).exists() for jar in classpath.split(os.pathsep)):
            return classpath
    if shutil.which("mvn") is None:
        raise Missing("no Maven; install it (Debian: maven)")
    command = [
        "mvn", "--batch-mode", "--quiet", "--file", str(pom),
        f"{DEPENDENCY_PLUGIN}:build-classpath", f"-Dmdep.outputFile={file}",
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode != 0:
        raise Missing("Maven could not get the kit's dependencies; its messages are above")
    return file.read_text()


@contextlib.contextmanager
def catalog_uri(backend: str, folder: Path) -> Iterator[str]:
    if backend == "sqlite":
        yield f"sqlite:{folder}/catalog.db"
    else:
        with postgres() as server:
            yield server.uri


def run(backend: str, berglake: Path, java: Path, classpath: str, work: Path) -> Result:
    started = time.monotonic()
    reports, log = work / f"reports-{backend}", work / f"catalog-{backend}.log"
    shutil.rmtree(reports, ignore_errors=True)
    with (
        temporary_folder("berglake-rck-") as folder,
        catalog_uri(backend, folder) as uri,
        namespaces_in(WAREHOUSE),
    ):
        (folder / "berglake.toml").write_text('[project]\nname = "rck"\n')
        environment = {
            "BERGLAKE_CATALOG__URI": uri,
            "BERGLAKE_STORAGE__WAREHOUSE": WAREHOUSE.as_uri(),
        }
        with rest_catalog(berglake, folder, environment) as server:
            command = [
                str(java), "-Drck.local=false", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", classpath, "org.junit.platform.console.ConsoleLauncher", "execute",
                "--select-class", SUITE, "--details", "none", "--disable-banner",
                "--reports-dir", str(reports),
            ]  # fmt: skip
            inherited = {k: v for k, v in os.environ.items() if not k.startswith("CATALOG_")}
            settings = {
                "CATALOG_URI": server.uri,
                "CATALOG_WAREHOUSE": WAREHOUSE.as_uri(),
                "CATALOG_TOKEN": server.token,
                # Tables are created in namespaces that exist.
                "CATALOG_RCK_REQUIRES__NAMESPACE__CREATE": "true",
                # `file:/tmp/x` and `file:///tmp/x` are one folder, and the server has one spelling.
                "CATALOG_RCK_OVERRIDES__REQUESTED__LOCATION": "true",
            }
            with (work / f"kit-{backend}.log").open("wb") as output:
                kit = subprocess.run(
                    command,
                    env={**inherited, **settings},
                    check=False,
                    stdout=output,
                    stderr=output,
                    timeout=SUITE_TIMEOUT,
                )
            shutil.copy(server.log, log)
    return read_reports(backend, reports, time.monotonic() - started, kit.returncode)


@contextlib.contextmanager
def only_run() -> Iterator[None]:
    """One run at a time on this machine: all of them use the same folders."""
    try:
        lock = LOCK.open("a")
    except OSError as error:
        raise Missing(f"{LOCK} cannot be opened: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Missing(f"another run of the kit is under way; it holds {LOCK}") from error
        yield


@contextlib.contextmanager
def namespaces_in(warehouse: Path) -> Iterator[None]:
    """The folders of the kit's namespaces, made before it starts and removed when it has ended.

    What is there already is somebody else's, unless an earlier run was killed and has left it.
    """
    paths = [warehouse / name for name in NAMESPACES]
    for path in paths:
        remove_made(path)
        if path.exists() or path.is_symlink():
            raise Missing(f"{path} is there, and the kit would put tables into it: move it away")
    try:
        for path in paths:
            try:
                path.mkdir()
            except FileExistsError as error:
                raise Missing(f"{path} was made a moment ago by another program") from error
            (path / MARK).touch()
        yield
    finally:
        for path in paths:
            remove_made(path)


def remove_made(path: Path) -> None:
    if not path.is_symlink() and (path / MARK).is_file():
        shutil.rmtree(path, ignore_errors=True)


def read_reports(backend: str, reports: Path, seconds: float, exit_code: int) -> Result:
    result = Result(backend, seconds, exit_code, set(), {}, set())
    for file in sorted(reports.glob("TEST-*.xml")):
        for case in ElementTree.parse(file).getroot().iter("testcase"):
            name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
            broken = (
                case.find("failure") if case.find("failure") is not None else case.find("error")
            )
            if broken is not None:
                result.failed[name] = (broken.get("message") or broken.get("type") or "").strip()
            elif case.find("skipped") is not None:
                result.aborted.add(name)
            else:
                result.passed.add(name)
    if not result.passed and not result.failed:
        raise RuntimeError(f"the kit reported no test; see {reports.parent}/kit-{backend}.log")
    return result


def known_failures() -> dict[str, str]:
    """Patterns of tests, with the reason why they fail."""
    known = {}
    for line in (HERE / "known-failures.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _, reason = line.partition(" ")
            known[pattern] = reason.strip()
    return known


def report(results: list[Result], known: dict[str, str]) -> int:
    ok = True
    for result in results:
        print(
            f"{result.backend:<12} {len(result.passed):>4} passed {len(result.failed):>4} failed "
            f"{len(result.aborted):>4} aborted or skipped  {result.seconds:6.1f} s"
        )
    for result in results:
        ran = len(result.passed) + len(result.failed) + len(result.aborted)
        if ran != TESTS:
            ok = False
            print(f"{result.backend}: {ran} tests ran, and the kit has {TESTS}; see its log")
        expected = SOME_FAILED if result.failed else ALL_PASSED
        if result.exit_code != expected:
            ok = False
            print(f"{result.backend}: the kit ended with {result.exit_code}; see its log")
        explained = {name: reason_of(name, known) for name in result.failed}
        for name in sorted(name for name, reason in explained.items() if reason is None):
            ok = False
            message = " ".join(result.failed[name].split())[:400]
            print(f"{result.backend}: {name} FAILED: {message}")
        counts: dict[str, int] = {}
        for reason in explained.values():
            if reason is not None:
                counts[reason] = counts.get(reason, 0) + 1
        for reason, count in sorted(counts.items()):
            print(f"{result.backend}: {count} known: {reason}")
        # A reason that is none any more would hide the next failure.
        for pattern in sorted(known):
            if not any(re.fullmatch(pattern, name) for name in result.failed):
                ok = False
                print(f"{result.backend}: nothing fails as {pattern}: take it from the list")
    return 0 if ok else 1


def reason_of(name: str, known: dict[str, str]) -> str | None:
    return next((why for pattern, why in known.items() if re.fullmatch(pattern, name)), None)


if __name__ == "__main__":
    sys.exit(main())
