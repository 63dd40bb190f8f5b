#!/usr/bin/env bash
# Resolve requirements/*.in into exact pins. Run when a dependency is added or raised.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools" && "$tools/bin/pip" install -q uv
compile() { "$tools/bin/uv" pip compile -q --no-annotate --no-header "$@"; }

# The CPU lock holds for every platform; a CUDA machine is Linux on x86-64.
compile --universal --python-version 3.11 --overrides overrides.txt --overrides cpu-overrides.txt cpu.in |
  grep -v "sys_platform == 'never'" > cpu.lock
compile --python-platform x86_64-manylinux_2_28 --python-version 3.12 --overrides overrides.txt cuda.in > cuda.lock
wc -l cpu.lock cuda.lock
