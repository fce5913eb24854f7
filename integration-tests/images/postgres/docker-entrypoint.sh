#!/bin/bash
# The part of the public image's contract that is used here: POSTGRES_USER, POSTGRES_PASSWORD and
# POSTGRES_DB make the cluster at the first start, PGDATA says where, /docker-entrypoint-initdb.d/*.sql
# is run once, options after `postgres` are the server's.
set -euo pipefail

if [[ "${1:0:1}" == - ]]; then set -- postgres "$@"; fi
if [[ "$1" != postgres ]]; then exec "$@"; fi

if ((EUID == 0)); then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

if [[ ! -s "$PGDATA/PG_VERSION" ]]; then
    user="${POSTGRES_USER:-postgres}"
    database="${POSTGRES_DB:-$user}"
    if [[ -z "${POSTGRES_PASSWORD:-}" ]]; then
        echo "POSTGRES_PASSWORD is not set" >&2
        exit 1
    fi
    initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-host=scram-sha-256 --auth-local=trust --encoding=UTF8
    printf '\nhost all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    # Nobody outside of the container reaches the server before it is complete.
    pg_ctl --wait start --options="-c listen_addresses=''"
    if [[ "$database" != postgres ]]; then
        psql --username="$user" --dbname=postgres --set=database="$database" --set=ON_ERROR_STOP=1 \
            <<<'CREATE DATABASE :"database"'
    fi
    for file in /docker-entrypoint-initdb.d/*.sql; do
        if [[ -f "$file" ]]; then
            psql --username="$user" --dbname="$database" --set=ON_ERROR_STOP=1 --file="$file"
        fi
    done
    pg_ctl --wait --mode=fast stop
fi
exec "$@" -c listen_addresses='*'
