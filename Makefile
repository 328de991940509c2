# Everything runs in .venv, which is made from the hash-pinned locks when a target first needs it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The tests start hundreds of processes, each of which would compile all sources anew.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
IN_VENV := .venv/bin/python
PIP := $(IN_VENV) -m pip --disable-pip-version-check --no-input
DATE ?= $(shell git log -1 --format=%cs)
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
BENCH := .venv/.bench-installed
LOCK := uv pip compile pyproject.toml --group build --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet

.PHONY: help demo test long browser widgets tour nightly spark crash check bench notebook fixtures picture words vulnerabilities lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## Replay the bundled journeys over the bundled data
	@.venv/bin/journeylab demo

test: $(DEV) ## Run the tests, on two processors
	$(IN_VENV) -m pytest -n 2 --dist loadfile

browser: $(DEV) ## Test the notebooks, the canvas and the explorers, in marimo, JupyterLab and Chromium
	$(IN_VENV) -m pytest -m browser -n 2 --dist loadfile || $(IN_VENV) -m pytest -m browser --last-failed # alone

widgets: ## Build what notebooks run in the browser (needs Node.js 20 and npm)
	cd js && npm ci --no-progress && node build.mjs

long: $(DEV) ## Run what takes longer: whole processes, crashes, many drawn worlds, PostgreSQL
	$(IN_VENV) -m pytest -m "long and not nightly and not browser" -n 2 --dist loadfile

nightly: $(DEV) ## Run the long property tests
	$(IN_VENV) -m pytest -m nightly --hypothesis-profile=nightly

spark: build/spark/installed $(DEV) ## Replay and simulate in Spark on a cluster of its own, and measure it briefly (needs Java 17)
	PYTHONPATH=$(CURDIR)/build/spark $(IN_VENV) -m pytest -m nightly tests/test_spark.py
	PYTHONPATH=$(CURDIR)/build/spark $(IN_VENV) -m benchmarks.spark --events 1000000 --pairs 1

crash: $(DEV) ## Kill senders at every point, print what became of the mail, and write docs/crash-table.md (10 minutes)
	@cd tests && ../$(IN_VENV) -m crash.table --date $(DATE) --write ../docs/crash-table.md

check: $(DEV) ## Lint, check formats, types and layers, run the examples in the documentation
	$(IN_VENV) -m ruff check
	$(IN_VENV) -m ruff format --check
	$(IN_VENV) -m mypy
	.venv/bin/lint-imports
	$(IN_VENV) -m pytest --doctest-modules --doctest-glob='*.md' src docs README.md

bench: $(BENCH) ## Measure everything beside its alternatives, and write docs/benchmarks.md (a quarter of an hour)
	$(IN_VENV) -m benchmarks --date $(shell date +%F) --write docs/benchmarks.md

notebook: $(RUNTIME) ## Open the notebooks in marimo
	$(IN_VENV) -m marimo edit notebooks

tour: $(DEV) ## Make the tour a notebook for Jupyter and one for marimo, under build
	mkdir -p build
	.venv/bin/jupytext --quiet --to ipynb notebooks/tour.md --output build/tour.ipynb
	.venv/bin/marimo convert build/tour.ipynb --output build/tour.py

fixtures: $(DEV) ## Rebuild the simulated shop under data/fixtures
	$(IN_VENV) -c "from journeylab import datasets; datasets.save_shop('data/fixtures/shop')"

picture: $(DEV) ## Draw the README's picture anew
	$(IN_VENV) -c "from journeylab.demo import save_picture; save_picture('docs/images/trial_welcome.svg')"

words: $(DEV) ## Bring the catalogues of languages up to date with the texts in the code, keeping translations
	@cd tests && ../$(IN_VENV) -m words

vulnerabilities: ## Ask the advisory database about every locked package (needs the network)
	$(PYTHON) -m venv build/advisories
	build/advisories/bin/pip install --quiet pip-audit
	build/advisories/bin/pip-audit --requirement requirements.lock --disable-pip --require-hashes --strict

lock: ## Resolve the locks anew (needs uv)
	$(LOCK) --extra notebook --extra models --output-file requirements.lock
	$(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock

clean: ## Remove the environment, the caches and what was built
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is as new as its lock. The project itself comes last and fetches nothing: its build backend is locked.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'JourneyLab needs Python 3.11 or later; name one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@echo 'Installing $(1) into .venv: once, some minutes'
	@$(PYTHON) -m venv .venv
	@$(PIP) install --quiet --require-hashes --requirement $(1)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@.venv/bin/journeylab doctor --compile >/dev/null
endef

# PySpark is large and needs Java: it is in no lock, and in a folder that no other target looks into.
build/spark/installed: | $(DEV)
	@echo 'Installing PySpark into build/spark: once, half a gigabyte'
	@$(PIP) install --quiet --upgrade --target build/spark $$($(IN_VENV) -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["spark"])')
	@touch $@

$(DEV): requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $(RUNTIME) $(DEV)

$(BENCH): requirements-bench.lock $(DEV)
	@$(PIP) install --quiet --require-hashes --requirement requirements-bench.lock
	@touch $(BENCH)

$(RUNTIME): requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch $(RUNTIME)
