# Everything installs into .venv from an exact lock; see scripts/setup.sh.
SHELL := /bin/bash
VENV := .venv/bin

.PHONY: help setup sweep test lint test-slow bench bench-gpu dashboard docs lock clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: ## Make .venv from the lock that suits this machine
	@scripts/setup.sh

sweep: setup ## Run sweeps/staleness.yaml and print its report; again: resume, or report at once
	$(VENV)/sweepctl run sweeps/staleness.yaml
	$(VENV)/sweepctl report staleness
	@echo
	@echo "Dashboard:  $(VENV)/streamlit run dashboard/app.py"

dashboard: setup ## Open the dashboard over what has run so far
	$(VENV)/streamlit run dashboard/app.py

lint: setup ## Style, types, direction of imports
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports

test: setup ## Lint, types and all tests
	@scripts/test-setup.sh
	@$(MAKE) --no-print-directory lint
	@scripts/test.sh

test-slow: setup ## The tests that take longer
	@scripts/test-setup.sh
	HF_HUB_OFFLINE=1 $(VENV)/python -m pytest -m slow

bench: setup ## The learner against a bare forward and backward; syncs; expansion of large specs; start-up; the simulator
	$(VENV)/python benchmarks/learner.py
	$(VENV)/python -m benchmarks.sync
	$(VENV)/python benchmarks/expansion.py
	$(VENV)/python benchmarks/ingest.py
	$(VENV)/python benchmarks/startup.py
	$(VENV)/python benchmarks/simulator.py

bench-gpu: ## On a GPU: the five arms on a model of random weights, nothing downloaded
	@nvidia-smi -L 2>/dev/null | grep -q GPU || { \
	  echo "bench-gpu needs an NVIDIA GPU; after make setup, $(VENV)/python -m benchmarks.gpu --size tiny shows it on CPU" >&2; \
	  exit 2; }
	@$(MAKE) --no-print-directory setup
	$(VENV)/python -m benchmarks.gpu

docs: setup ## Write the pages and the schema that are made from the code
	$(VENV)/python scripts/configuration_docs.py > docs/configuration.md
	$(VENV)/python -m sweepctl schema > sweeps/sweep.schema.json
	$(VENV)/python -c "from results.report.json_document import write_schema; write_schema()"

lock: ## Resolve requirements/*.in again
	scripts/lock.sh

clean: ## Remove .venv and caches; never touches runs/
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
