#!/usr/bin/env bash
# Installs the real clients at the versions of the lock files, into this folder and nowhere else.
# Does nothing when what is installed already matches.
set -euo pipefail
cd "$(dirname "$0")"

# A stamp holds the checksum of the lock file that the folder was installed from, so that a changed
# lock file reinstalls and a broken-off installation is repeated.
current() { [[ -f "$2" && "$(cat "$2")" == "$(sha256sum <"$1")" ]]; }
stamp() { sha256sum <"$1" >"$2"; }

if ! current package-lock.json node_modules/.installed; then
  npm ci --no-audit --no-fund --loglevel=error </dev/null
  stamp package-lock.json node_modules/.installed
fi

if ! current requirements.txt .venv/.installed; then
  rm -rf .venv
  "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --only-binary=:all: --requirement requirements.txt </dev/null
  stamp requirements.txt .venv/.installed
fi
