# `make` lists what there is. Nothing is needed but make and a Python of 3.11 or newer with its venv module.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first Python that is new enough and can make a virtual environment; `make PYTHON=...` names another.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --timeout 180
LISTEN ?= 127.0.0.1:5000
DATA ?= ./data
ARGS ?=

.PHONY: help install serve test test-slow check conformance bench lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.runtime ## make .venv with .venv/bin/shoal

serve: install ## run the registry on 127.0.0.1:5000 with its data in ./data
	@exec $(BIN)/shoal serve --data $(DATA) --listen $(LISTEN)

test: $(VENV)/.test ## set up all that the tests need and run the short suite; ARGS="-k word" goes to pytest
	@tests/setup
	@exec $(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/.test ## the same with the slow tests
	@tests/setup
	@exec $(BIN)/python -m pytest --slow $(ARGS)

check: $(VENV)/.dev ## ruff, mypy --strict and the import rules
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --strict
	@$(BIN)/lint-imports

conformance: install ## run the program oci-conformance of the OCI distribution specification against a fresh registry
	@exec $(BIN)/python -m tests.conformance

bench: $(VENV)/.test ## measure against docker-registry; ARGS="--quick" for the short form
	@tests/setup
	@exec $(BIN)/shoal bench registry $(ARGS)

lock: $(VENV)/.dev ## write requirements/*.txt anew from pyproject.toml
	@lock() { $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' "$$@"; }; \
	lock --extra build --extra dev --output-file requirements/dev.txt; \
	lock --extra build --extra test --constraints requirements/dev.txt --output-file requirements/test.txt; \
	lock --extra build --constraints requirements/dev.txt --output-file requirements/runtime.txt

clean: ## remove the virtual environment and all caches; the data stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@if [ -z '$(PYTHON)' ]; then \
		echo 'shoal: no Python of 3.11 or newer with its venv module; on Debian: apt-get install python3 python3-venv' >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)

# One stamp for each lock; it is older than the lock when the lock has changed.
$(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement $<
	$(PIP) install --quiet --no-build-isolation --no-deps --editable .
	@touch $@
