#!/bin/sh
# Runs the movies example from its raw file to gold tables, then through a delivery of corrections,
# and checks on the way what it shows. `make demo` calls it; it needs the berglake binary and
# coreutils, and works on a copy of the project, so that this folder stays as it is.
#
#   BERGLAKE_BIN        the binary (default: target/debug/berglake of the workspace)
#   BERGLAKE_DEMO_DIR   where the copy goes (default: target/demo/movies); it is made anew
set -eu

example=$(cd "$(dirname "$0")" && pwd)
workspace=$(cd "$example/../.." && pwd)
berglake=${BERGLAKE_BIN:-$workspace/target/debug/berglake}
project=${BERGLAKE_DEMO_DIR:-$workspace/target/demo/movies}

fail() {
    echo "demo: $*" >&2
    exit 1
}

[ -x "$berglake" ] || fail "no binary at $berglake; run 'make demo', or set BERGLAKE_BIN"

# A folder is only removed when it is one that this script made.
if [ -e "$project" ]; then
    [ -f "$project/.made-by-demo" ] || fail "$project exists and is not a copy of this demo; set BERGLAKE_DEMO_DIR"
    rm -rf "$project"
fi
mkdir -p "$project/data"
: >"$project/.made-by-demo"
cp "$example/berglake.toml" "$project/"
cp -R "$example/pipelines" "$project/"
cp "$example/data/movies.json" "$project/data/"

# The relative path is shorter to read, and what a user would type.
case $project in
"$workspace"/*) shown=${project#"$workspace"/} ;;
*) shown=$project ;;
esac

title() {
    printf '\n\033[1m== %s ==\033[0m\n' "$1"
}
[ -t 1 ] || title() { printf '\n== %s ==\n' "$1"; }

lake() {
    "$berglake" --project "$project" "$@"
}

show() {
    printf '$ berglake --project %s' "$shown"
    for argument in "$@"; do
        case $argument in
        *[!A-Za-z0-9._/=-]*) printf ' "%s"' "$(printf '%s' "$argument" | tr -s ' \n' ' ')" ;;
        *) printf ' %s' "$argument" ;;
        esac
    done
    printf '\n'
    lake "$@"
}

# The one value that a query returns, without its header line.
value() {
    lake sql --output csv -c "$1" | tail -n 1
}

expect() {
    [ "$2" = "$3" ] || fail "$1: expected $2, found $3"
}

counts="
  SELECT 'bronze.movies_raw' AS table_name, count(*) AS row_count FROM bronze.movies_raw
  UNION ALL SELECT 'bronze.movies_errors', count(*) FROM bronze.movies_errors
  UNION ALL SELECT 'silver.movies_clean', count(*) FROM silver.movies_clean
  UNION ALL SELECT 'gold.movies_by_year_genre', count(*) FROM gold.movies_by_year_genre
  UNION ALL SELECT 'gold.top_movies', count(*) FROM gold.top_movies"

gold_2010() {
    echo "SELECT genre, movie_count, round(avg_rating, 2) AS avg_rating, total_revenue
  FROM gold.movies_by_year_genre $1 WHERE year = 2010 ORDER BY total_revenue DESC NULLS LAST LIMIT 6"
}

first_snapshot() {
    value "SELECT snapshot_id FROM $1.\"$2\$snapshots\" ORDER BY committed_at LIMIT 1"
}

# How many snapshots each table has, in one line.
snapshots() {
    lake sql --output csv -c "
      SELECT (SELECT count(*) FROM bronze.\"movies_raw\$snapshots\") AS bronze,
             (SELECT count(*) FROM silver.\"movies_clean\$snapshots\") AS silver,
             (SELECT count(*) FROM gold.\"movies_by_year_genre\$snapshots\") AS gold,
             (SELECT count(*) FROM gold.\"top_movies\$snapshots\") AS top" | tail -n 1
}

title "1. The first run: one dirty file becomes bronze, silver and gold"
show run

title "2. What is in each layer"
show sql -c "$counts"
expect "records in bronze" 3201 "$(value 'SELECT count(*) FROM bronze.movies_raw')"
expect "films in silver (one record has no title)" 3200 "$(value 'SELECT count(*) FROM silver.movies_clean')"
expect "films counted in gold" 3200 "$(value 'SELECT sum(movie_count) FROM gold.movies_by_year_genre')"
echo "Titles that were JSON numbers are kept as their text:"
show sql -c "SELECT title, release_date, genre FROM silver.movies_clean
  WHERE title IN ('300', '1408', '1941', '2012') ORDER BY title"

title "3. A gold query: 2010 by genre"
show sql -c "$(gold_2010 '')"

title "4. The history, and the same query as of the first snapshot"
show history gold.movies_by_year_genre
gold_first=$(first_snapshot gold movies_by_year_genre)
silver_first=$(first_snapshot silver movies_clean)
show sql -c "$(gold_2010 "FOR VERSION AS OF $gold_first")"

title "5. Run again: nothing is new, so nothing is processed and nothing is committed"
before=$(snapshots)
show run
expect "snapshots per table after a second run" "$before" "$(snapshots)"
expect "records in bronze after a second run" 3201 "$(value 'SELECT count(*) FROM bronze.movies_raw')"

title "6. A delivery of corrections: 10 records and a line that is cut off"
cp "$example/data/updates/movies_corrections.json" "$project/data/"
show run
echo "The line that could not be read is a dead letter, with its reason:"
show sql -c "SELECT file, error_type, error_message, CAST(raw AS STRING) AS raw FROM bronze.movies_errors"
expect "records in bronze" 3211 "$(value 'SELECT count(*) FROM bronze.movies_raw')"
expect "dead letters" 1 "$(value 'SELECT count(*) FROM bronze.movies_errors')"
expect "films in silver (one is new)" 3201 "$(value 'SELECT count(*) FROM silver.movies_clean')"

changed="SELECT title, release_date, genre, rating, revenue, updated_at FROM silver.movies_clean"
these="WHERE title IN ('Inception', 'The Land Girls', 'Gone with the Wind', '300', 'Avatar', 'Iron Man 2',
    'Titanic', 'True Grit') ORDER BY title"

title "7. What changed (Titanic's late record did not win), and the old values by time travel"
show sql -c "$changed $these"
show sql -c "$changed FOR VERSION AS OF $silver_first $these"
expect "revenue of Titanic, whose correction was late" 1842879955 \
    "$(value "SELECT revenue FROM silver.movies_clean WHERE title = 'Titanic'")"
expect "genre of Inception now" Action \
    "$(value "SELECT genre FROM silver.movies_clean WHERE title = 'Inception'")"
expect "genre of Inception as of the first snapshot" Thriller/Suspense \
    "$(value "SELECT genre FROM silver.movies_clean FOR VERSION AS OF $silver_first WHERE title = 'Inception'")"

title "8. Gold after the corrections, and as it was"
show sql -c "$(gold_2010 '')"
show sql -c "$(gold_2010 "FOR VERSION AS OF $gold_first")"

title "Done. Three commands to try next"
cat <<EOF
  $berglake --project $shown info
  $berglake --project $shown sql -c "SELECT * FROM gold.top_movies WHERE genre = 'Western' ORDER BY place"
  $berglake --project $shown sql -c "EXPLAIN SELECT title FROM silver.movies_clean WHERE release_date >= DATE '2010-01-01'"
EOF
