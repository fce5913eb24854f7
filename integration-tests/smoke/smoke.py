"""Brings up deploy/docker-compose.yml as a person would, uses it, disturbs it and takes it down.

`make smoke` builds what it needs and runs it. It has a compose project, ports and secrets of its own, so
that a stack that is running stays untouched. Needs Python and its standard library, and Docker.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """The compose project of this run."""

    def __init__(self, folder: Path):
        self.name = f"berglake-smoke-{os.getpid()}"
        self.env_file = folder / ".env"
        subprocess.run(
            ["sh", ROOT / "deploy/make-env", self.env_file], check=True, stdout=subprocess.DEVNULL
        )
        ports = [
            "CATALOG_PORT",
            "QUERY_PORT",
            "KAFKA_PORT",
            "MINIO_PORT",
            "MINIO_CONSOLE_PORT",
            "TRINO_PORT",
        ]
        own = dict(zip(ports, map(str, free_ports(len(ports))), strict=True))
        for name in ("BERGLAKE_IMAGE", "BERGLAKE_PROJECT_DIR"):
            if name in os.environ:
                own[name] = os.environ[name]
        lines = [
            line for line in self.env_file.read_text().splitlines() if line.split("=")[0] not in own
        ]
        self.env_file.write_text("\n".join(lines + [f"{k}={v}" for k, v in own.items()]) + "\n")
        settings = (
            line.split("=", 1) for line in self.env_file.read_text().splitlines() if "=" in line
        )
        self.settings = {key: value for key, value in settings if not key.startswith("#")}

    def compose(self, *arguments: str, check: bool = True, quiet: bool = True) -> str:
        command = [
            ROOT / "integration-tests/images/compose",
            "--project-name",
            self.name,
            "--env-file",
            self.env_file,
            "--file",
            ROOT / "deploy/docker-compose.yml",
            "--profile",
            "trino",
            *arguments,
        ]
        # What is set where the tests run would win over the file.
        environment = {k: v for k, v in os.environ.items() if k not in self.settings}
        result = subprocess.run(
            command,
            check=False,
            text=True,
            env=environment,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
        )
        if check and result.returncode != 0:
            sys.exit(f"compose {' '.join(arguments)} failed:\n{result.stdout or ''}")
        return result.stdout or ""

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.settings[service.upper() + '_PORT']}"

    def query(self, statement: str) -> list[dict]:
        """Rows of a statement by the query service."""
        answer = request(
            self.url("query") + "/v1/sql",
            json.dumps({"sql": statement}).encode(),
            {
                "Authorization": f"Bearer {self.settings['QUERY_TOKEN']}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        return json.loads(answer)["rows"]

    def trino(self, statement: str) -> list[list]:
        """Rows of a statement by Trino."""
        headers = {
            "X-Trino-User": "smoke",
            "X-Trino-Catalog": "berglake",
            "X-Trino-Time-Zone": "UTC",
        }
        answer = json.loads(
            request(self.url("trino") + "/v1/statement", statement.encode(), headers)
        )
        rows = []
        while True:
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return rows
            answer = json.loads(request(answer["nextUri"], None, headers))

    def container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).strip()

    def memory(self) -> list[str]:
        """What each container holds in memory."""
        containers = self.compose("ps", "--quiet").split()
        return docker(
            "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *containers
        ).splitlines()

    def exit_codes(self) -> dict[str, int]:
        """How the containers of our own services ended."""
        roles = ["catalog", "bronze", "silver", "gold", "query", "maintenance"]
        state = "{{.State.ExitCode}}"
        return {
            role: int(docker("inspect", "--format", state, self.container(role))) for role in roles
        }

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks of this project that still exist."""
        label = f"label=com.docker.compose.project={self.name}"
        return [
            *docker("ps", "--all", "--quiet", "--filter", label).split(),
            *docker("volume", "ls", "--quiet", "--filter", label).split(),
            *docker("network", "ls", "--quiet", "--filter", label).split(),
        ]


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def request(url: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    asked = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(
            f"{url}: {error.code} {error.read().decode(errors='replace')}"
        ) from error


def until(what: str, seconds: float, holds) -> float:
    """Waits until `holds()` is true and gives the time that it took."""
    started = time.monotonic()
    last = None
    while True:
        try:
            if holds():
                return time.monotonic() - started
        except (RuntimeError, OSError) as error:
            last = error
        if time.monotonic() - started > seconds:
            sys.exit(f"in {seconds:.0f} s it never was true that {what}; last error: {last}")
        time.sleep(0.5)


MOVIES = ROOT / "examples/movies/data/movies.json"
CORRECTIONS = ROOT / "examples/movies/data/updates/movies_corrections.json"
BY_TITLE = (
    "SELECT title, CAST(release_date AS VARCHAR) AS release_date, genre, rating, revenue "
    "FROM silver.movies_clean ORDER BY title, release_date"
)
GOLD = "SELECT year, genre, movie_count, total_revenue FROM gold.movies_by_year_genre ORDER BY year, genre"


def produce(stack: Stack, path: Path) -> None:
    producer = Path(os.environ["BERGLAKE_BUILD"]) / "berglake-example-producer"
    servers = f"127.0.0.1:{stack.settings['KAFKA_PORT']}"
    command = [
        producer,
        "--servers",
        servers,
        "--partitions",
        "3",
        "files",
        "movies",
        path,
        "--key",
        "Title",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def count(stack: Stack, table: str) -> int:
    return stack.query(f"SELECT count(*) AS n FROM {table}")[0]["n"]


def arrived(stack: Stack, records: int) -> bool:
    """Whether every record is a row of bronze or a dead letter."""
    return count(stack, "bronze.movies_raw") + count(stack, "bronze.movies_errors") == records


def settled(stack: Stack) -> bool:
    """Whether gold is what silver says, and silver has taken the newest of bronze."""
    date = "to_date(trim(`Release Date`), 'MMM d yyyy')"
    # As silver does: a year after 2011 is a century too late.
    date = f"CASE WHEN {date} > DATE '2011-12-31' THEN add_months({date}, -1200) ELSE {date} END"
    films = stack.query(
        f"SELECT count(*) AS n FROM (SELECT DISTINCT trim(`Title`) AS t, {date} AS d"
        " FROM bronze.movies_raw) AS f WHERE t <> '' AND d IS NOT NULL"
    )[0]["n"]
    by_gold = stack.query("SELECT sum(movie_count) AS n FROM gold.movies_by_year_genre")[0]["n"]
    return films == count(stack, "silver.movies_clean") == by_gold


def same_rows(stack: Stack) -> int:
    """Compares silver and gold as the query service and Trino read them and gives the number of rows."""
    rows = 0
    for statement in (BY_TITLE, GOLD):
        ours = [list(row.values()) for row in stack.query(statement)]
        # NULLs come first with one and last with the other.
        ours, theirs = (sorted(map(repr, some)) for some in (ours, stack.trino(statement)))
        if ours != theirs:
            different = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
            sys.exit(f"{len(ours)} and {len(theirs)} rows differ in: {statement}\n{different[:5]}")
        rows += len(ours)
    return rows


def main() -> None:
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"smoke {time.monotonic() - started:6.1f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        try:
            use(stack, say)
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


def use(stack: Stack, say) -> None:
    stack.compose(
        "up", "--detach", "--wait", "--wait-timeout", "600", "--no-build", "--pull", "never"
    )
    say("all services are healthy")

    records = json.loads(MOVIES.read_text())
    # One record per line, one of them broken.
    corrections = CORRECTIONS.read_text().splitlines()
    produce(stack, MOVIES)
    say(f"{len(records)} films produced")
    until("every film is in bronze or a dead letter", 120, lambda: arrived(stack, len(records)))
    say("all in bronze")
    until("gold is complete", 120, lambda: settled(stack))
    rows = same_rows(stack)
    say(f"gold is complete; {rows} rows of silver and gold are the same by HTTP and by Trino")

    # One is restarted in good order, one is killed and comes back by itself.
    stack.compose("restart", "silver", "catalog")
    docker("kill", "--signal", "KILL", stack.container("bronze"))
    say("silver and catalog restarted, bronze killed")
    docker("start", stack.container("bronze"))
    produce(stack, CORRECTIONS)
    produced = len(records) + len(corrections)
    until("the corrections have arrived", 120, lambda: arrived(stack, produced))
    until("gold is complete again", 120, lambda: settled(stack))
    rows = same_rows(stack)
    say(
        f"{len(corrections)} corrections are in gold; {rows} rows are the same by HTTP and by Trino"
    )

    for line in stack.memory():
        print(f"    {line}")
    stack.compose("stop")
    codes = stack.exit_codes()
    wrong = {service: code for service, code in codes.items() if code != 0}
    if wrong:
        sys.exit(f"these did not end in good order: {wrong}")
    say("stopped in good order")


if __name__ == "__main__":
    main()
