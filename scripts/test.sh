#!/usr/bin/env bash
# All tests, as two processes side by side: what starts engines in one, the rest in the other.
# Engines would only wait for each other, and most of the rest waits for browsers and processes.
set -uo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1
engines=(tests/trainer tests/end_to_end tests/benchmarks)
rest=()
for path in tests/*; do
  case $path in
    */trainer | */end_to_end | */benchmarks | */factories | */conftest.py | */__pycache__) ;;
    *) rest+=("$path") ;;
  esac
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT
.venv/bin/python -m pytest "$@" "${engines[@]}" >"$log" 2>&1 &
other=$!
trap 'kill -INT "$other" 2>/dev/null' INT TERM
.venv/bin/python -m pytest "$@" "${rest[@]}"
first=$?
echo "=== with engines: ${engines[*]} ==="
wait "$other"
second=$?
cat "$log"
exit $((first > second ? first : second))
