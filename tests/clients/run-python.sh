#!/usr/bin/env bash
# Runs the Python clients: run-python.sh PRINCIPAL_URL [MIRROR_URL]. One JSON line per check; exit 1 when one failed.
set -euo pipefail
: "${1:?usage: run-python.sh PRINCIPAL_URL [MIRROR_URL]}"
here="$(dirname "$0")"
export PYTHONDONTWRITEBYTECODE=1
exec "$here/.venv/bin/python" "$here/python/main.py" --principal "$1" ${2:+--mirror "$2"}
