#!/usr/bin/env bash
# Runs the Node clients: run-node.sh PRINCIPAL_URL [MIRROR_URL]. One JSON line per check; exit 1 when one failed.
set -euo pipefail
: "${1:?usage: run-node.sh PRINCIPAL_URL [MIRROR_URL]}"
here="$(dirname "$0")"
if [[ ! -e "$here/node_modules/.installed" ]]; then
  echo "the clients are not installed; run $here/install.sh first" >&2
  exit 2
fi
exec node "$here/node/main.mjs" --principal "$1" ${2:+--mirror "$2"}
