# `make demo` and `make test` each do all the set-up on a fresh machine; a second run reuses it.
#
# The set-up is stamped inside the virtual environment, with a checksum of pyproject.toml and of this checkout's path:
# it is done again when either changes, and a failed installation leaves no stamp. VENV=PATH uses another environment.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

CHECKSUM := $(shell (echo '$(CURDIR)'; cat pyproject.toml) | cksum | cut -d ' ' -f 1)
BASE := $(VENV)/.vidi-base-$(CHECKSUM)
TEST := $(VENV)/.vidi-test-$(CHECKSUM)

# What an environment with the test tools has, one without them needs not install again.
INSTALLED := $(if $(wildcard $(TEST)),$(TEST),$(BASE))

.PHONY: help venv demo test lint types imports parity other-arithmetic listing docs-table

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

define create-environment
	@test -n '$(PYTHON)' || { echo 'vidi needs Python 3.11 or newer; found none (make PYTHON=/path/to/python3)' >&2; exit 1; }
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || '$(PYTHON)' -m venv '$(VENV)'
	rm -f $(VENV)/.vidi-*
	$(VENV)/bin/python -m pip install --upgrade pip
endef

$(BASE):
	$(create-environment)
	$(VENV)/bin/python -m pip install -e .
	touch '$@'

$(TEST):
	$(create-environment)
	$(VENV)/bin/python -m pip install -e '.[test]'
	touch '$@'

venv: $(TEST)  ## the virtual environment with vidi and the test tools in it

demo: $(INSTALLED)  ## train a small detector on rendered scenes, score it, draw what it sees (runs/demo)
	$(VENV)/bin/vidi train retinanet_tiny --data world --out runs/demo

test: $(TEST)  ## the test suite, one variant of each family
	$(VENV)/bin/pytest -n 2 -m "not slow and not extended"

parity: $(TEST)  ## the rest of the parity suite: every other variant (pytest's 5: there is none)
	$(VENV)/bin/pytest -n 2 -m "extended and not slow" || test $$? -eq 5

# What depends on rounding: trainings that must reach a bar, and comparisons of computed numbers.
NUMERIC := $(addprefix tests/,backbones depth embedding generative learning losses metrics necks nn ops optim parity search segmentation translation)

other-arithmetic: $(TEST)  ## the tests of numbers with other vector instructions, from another seed
	ATEN_CPU_CAPABILITY=default VIDI_TEST_SEED=1 $(VENV)/bin/pytest -n 2 -m "not slow and not extended" $(NUMERIC)

lint: $(TEST)  ## style and layout
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(TEST)  ## static types
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

imports: $(TEST)  ## the floors: which part may import which
	$(VENV)/bin/lint-imports

listing: $(INSTALLED)  ## write the table of systems that `vidi models` reads
	$(VENV)/bin/python -m vidi.catalog.listed

docs-table: $(INSTALLED)  ## print the table of systems that docs/systems.md shows
	@$(VENV)/bin/vidi models --markdown
