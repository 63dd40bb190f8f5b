#!/usr/bin/env bash
# The one thing the tests need beside .venv: a Chromium for the dashboard's pages.
set -euo pipefail
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
  exit 0
fi
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "test-setup: installing chromium" >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
else
  echo "test-setup: the dashboard's tests need Chromium; install it (Debian: sudo apt-get install chromium)" >&2
  exit 1
fi
