#!/usr/bin/env bash
# Make .venv from the lock that suits this machine: `scripts/setup.sh [cpu|cuda]`. Does nothing
# when .venv was already made from the same lock.
set -euo pipefail
cd "$(dirname "$0")/.."

flavour=${1:-}
if [ -z "$flavour" ]; then
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then flavour=cuda; else flavour=cpu; fi
fi
lock=requirements/$flavour.lock
[ -f "$lock" ] || { echo "setup: no $lock; the flavours are cpu and cuda" >&2; exit 2; }
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "setup: Python 3.11 or newer is needed, found $("$python" --version); set PYTHON=/path/to/python3.12" >&2; exit 2; }

stamp=.venv/.installed-from
wanted="$flavour $(cat "$lock" pyproject.toml requirements/vllm-cpu-name/pyproject.toml scripts/setup.sh | cksum)"
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

echo "setup: installing the $flavour flavour into .venv" >&2
started=$SECONDS
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=".venv/bin/python -m pip --disable-pip-version-check -q"
# --no-deps: the lock is complete, and vLLM's own metadata would add CUDA builds of torchvision.
$pip install --no-deps -r "$lock"
if [ "$flavour" = cpu ] && .venv/bin/python -c 'import importlib.util,sys; sys.exit(importlib.util.find_spec("vllm") is None)'; then
  $pip install --no-deps --no-build-isolation ./requirements/vllm-cpu-name
fi
$pip install --no-deps --no-build-isolation -e .
.venv/bin/python -c 'import torch' 2>/dev/null || {
  echo "setup: the torch that pip found does not load here; without a GPU it must be a CPU build." >&2
  echo "setup: README.md, 'Installation, in detail', says how to give pip one; then run make again" >&2
  exit 1
}
echo "$wanted" > "$stamp"
echo "setup: done in $((SECONDS - started)) s" >&2
