#!/usr/bin/env bash
# Runs the Python clients: run-python.sh PRINCIPAL_URL [MIRROR_URL]. One JSON line per check; exit 1 when one failed.
set -euo pipefail
: "${1:?usage: run-python.sh PRINCIPAL_URL [MIRROR_URL]}"
here="$(dirname "$0")"
if [[ ! -e "$here/.venv/.installed" ]]; then
  echo "the clients are not installed; run $here/install.sh first" >&2
  exit 2
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$here/.venv/bin/python" "$here/python/main.py" --principal "$1" ${2:+--mirror "$2"}
