#!/usr/bin/env bash
# Installs the parser of Prometheus' own Python library at the version of the lock file, into this folder and nowhere else.
# Does nothing when what is installed already matches.
set -euo pipefail
cd "$(dirname "$0")"

if ! [[ -f .venv/.installed && "$(cat .venv/.installed)" == "$(sha256sum <requirements.txt)" ]]; then
  rm -rf .venv
  "${PYTHON:-python3}" -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --only-binary=:all: --requirement requirements.txt </dev/null
  sha256sum <requirements.txt >.venv/.installed
fi
