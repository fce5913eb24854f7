#!/bin/sh
# As in the public image: arguments are those of `minio`, whether it is named or not.
set -eu
if [ "${1:-minio}" != minio ]; then set -- minio "$@"; fi
exec "$@"
