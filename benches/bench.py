"""What `make bench` runs: the parts that BERGLAKE_BENCH_PARTS names, separated by commas."""

from __future__ import annotations

import os

import format_run
import run

PARTS = {"query": run.main, "format": format_run.main}


def main() -> None:
    wanted = [part.strip() for part in os.environ.get("BERGLAKE_BENCH_PARTS", "").split(",")]
    wanted = [part for part in wanted if part] or list(PARTS)
    for part in wanted:
        if part not in PARTS:
            raise SystemExit(f"BERGLAKE_BENCH_PARTS: no part {part}; there are {', '.join(PARTS)}")
    for part in wanted:
        PARTS[part]()


if __name__ == "__main__":
    main()
