#!/usr/bin/env bash
# Set tailshard up in .venv of this checkout: versions that are tested together, nothing outside .venv.
#   bash deploy/laptop.sh            what the demo and real searches need
#   bash deploy/laptop.sh --test     and what the tests need
#   bash deploy/laptop.sh --dev      and what linting and type checks need
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  "") what="." ;;
  --test) what=".[test]" ;;
  --dev) what=".[dev]" ;;
  *) echo "usage: bash deploy/laptop.sh [--test | --dev]" >&2; exit 2 ;;
esac

python=""
for candidate in "${PYTHON:-}" python3.11 python3.12 python3; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "tailshard needs Python 3.11 or 3.12; none was found (set PYTHON to one)" >&2
  exit 1
fi

if [ ! -x .venv/bin/pip ]; then
  # Debian ships Python without ensurepip; its venv package brings it.
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    echo "installing Debian's python3-venv" >&2
    if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo"; fi
    $as_root apt-get update -qq && $as_root apt-get install -qq -y python3-venv >/dev/null
  fi
  "$python" -m venv .venv
fi
.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable "$what"
echo "tailshard is ready: .venv/bin/tailshard --help" >&2
