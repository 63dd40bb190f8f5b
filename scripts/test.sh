#!/usr/bin/env bash
# All tests, folder by folder, two folders at a time and the longest first: on two cores engines would only
# wait for each other, while most of the rest waits for browsers and processes.
set -uo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1
pytest=".venv/bin/python -m pytest"
longest=(tests/trainer tests/sweepctl tests/dashboard tests/results)
others=()
for path in tests/*; do
  case " ${longest[*]} tests/factories tests/conftest.py tests/__pycache__ " in
    *" $path "*) ;;
    *) others+=("$path") ;;
  esac
done
# Once more, on a device that is not the CPU: see tests/trainer/strict_device.py.
learner=(tests/trainer/test_trainer_{learner,policy,logprobs,packing,handover}.py)

# One command: what it printed, once it has ended, in one piece.
run() {
  local log code
  log=$(mktemp)
  echo "=== $1 ..."
  # shellcheck disable=SC2086 # words of a command
  env $1 $2 >"$log" 2>&1
  code=$?
  echo "=== $1"
  cat "$log"
  rm -f "$log"
  return "$code"
}
export -f run
printf '%s\n' "${longest[@]/#/$pytest }" "$pytest ${others[*]}" "TEST_DEVICE=cpu:0 $pytest ${learner[*]}" |
  xargs -P 2 -I '{}' bash -c 'run "$1" "$2"' - '{}' "$*"
