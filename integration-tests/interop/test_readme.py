"""The lines that the README shows for other engines, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from movies import assert_same
from project import Project, install_duckdb_extensions

README = Path(__file__).resolve().parents[2] / "README.md"

KEEP = """
import pyarrow
for name, table in (("pyiceberg", by_genre), ("duckdb", also_by_genre)):
    with pyarrow.ipc.new_file(f"{name}.arrow", table.schema) as file:
        file.write_table(table)
"""


def test_the_lines_of_the_readme_read_gold_as_berglake_sql_does(tmp_path: Path) -> None:
    project = Project.local(tmp_path / "examples" / "movies")
    project.run()
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    # The only thing that is not the reader's: the extension comes from a package, not a download.
    install_duckdb_extensions(tmp_path / ".duckdb" / "extensions")
    done = subprocess.run(
        [sys.executable, "-c", "".join(blocks) + KEEP],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    expected = project.rows("SELECT * FROM gold.movies_by_year_genre WHERE year = 2010")
    for engine in ("pyiceberg", "duckdb"):
        found = pa.ipc.open_file(tmp_path / f"{engine}.arrow").read_all()
        assert_same(found.to_pylist(), expected)
