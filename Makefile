# Everything below needs only python3 (3.11 or newer, with venv and pip) and make. No root, no uv, nothing outside
# this folder but the package cache.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_ALL := $(VENV)/.ready-all
# Each processor begins with its part of the tests in their order, so that fixtures are made once, and takes from the
# end of another's part when it has done its own.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 8 --dist worksteal

export UV_PYTHON_DOWNLOADS := never
# Compiled once here, not by each process that starts: several may be the first, and some machines forbid it later.
export UV_COMPILE_BYTECODE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Company networks often have a certificate authority of their own: trust what the machine trusts, as pip does.
ifneq (,$(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem))
export UV_SYSTEM_CERTS := 1
endif

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint bench clean

help:
	@echo "make demo      install, start the demo CRM, sync it, open the dashboard (Ctrl-C stops it)"
	@echo "make test      install and pass the tests"
	@echo "make test-all  also the slow ones, every rule on DuckDB and Spark, those on outside data"
	@echo "make lint      ruff, mypy, import-linter"
	@echo "make bench     how fast, how much memory; compared with plain loops"
	@echo "make clean     remove what was made here, but not your data"

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(READY): $(BIN)/uv pyproject.toml uv.lock
	$(BIN)/uv sync --frozen --quiet --inexact
	@touch $@

$(READY_ALL): $(READY)
	$(BIN)/uv sync --frozen --quiet --inexact --group spark
	@touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/voronka demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread for Polars in each process: the processes have all processors busy already.
test: lint
	POLARS_MAX_THREADS=1 $(PYTEST) -m "not slow and not spark and not validation"

test-all: lint $(READY_ALL)
	$(PYTEST) --hypothesis-profile=random

bench: $(READY)
	$(BIN)/python bench/straight_line.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis demo-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
