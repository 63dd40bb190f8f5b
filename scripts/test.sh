#!/usr/bin/env bash
# All tests, folder by folder, two folders at a time and the longest first: on two cores engines would only
# wait for each other, while most of the rest waits for browsers and processes.
set -uo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1
longest=(tests/trainer tests/sweepctl tests/dashboard tests/results)
others=()
for path in tests/*; do
  case " ${longest[*]} tests/factories tests/conftest.py tests/__pycache__ " in
    *" $path "*) ;;
    *) others+=("$path") ;;
  esac
done

# One folder, or several that are short: what pytest printed, once it has ended, in one piece.
run() {
  local log code
  log=$(mktemp)
  echo "=== $1 ..."
  # shellcheck disable=SC2086 # several paths in one word
  .venv/bin/python -m pytest $2 $1 >"$log" 2>&1
  code=$?
  echo "=== $1"
  cat "$log"
  rm -f "$log"
  return "$code"
}
export -f run
printf '%s\n' "${longest[@]}" "${others[*]}" |
  xargs -P 2 -I '{}' bash -c 'run "$1" "$2"' - '{}' "$*"
