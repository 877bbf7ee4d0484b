#!/usr/bin/env bash
# Runs the Node clients: run-node.sh PRINCIPAL_URL [MIRROR_URL]. One JSON line per check; exit 1 when one failed.
set -euo pipefail
: "${1:?usage: run-node.sh PRINCIPAL_URL [MIRROR_URL]}"
exec node "$(dirname "$0")/node/main.mjs" --principal "$1" ${2:+--mirror "$2"}
