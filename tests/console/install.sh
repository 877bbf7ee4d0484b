#!/usr/bin/env bash
# Installs what drives the browser at the versions of the lock file, into this folder and nowhere else.
# Does nothing when what is installed already matches. The browser itself is the machine's Chromium.
set -euo pipefail
cd "$(dirname "$0")"

# The stamp holds the checksum of the lock file that the folder was installed from, so that a changed lock file
# reinstalls and a broken-off installation is repeated.
if [[ ! -f node_modules/.installed || "$(cat node_modules/.installed)" != "$(sha256sum <package-lock.json)" ]]; then
  npm ci --no-audit --no-fund --loglevel=error </dev/null
  sha256sum <package-lock.json >node_modules/.installed
fi
