# Every target below makes .venv on its first call and installs what constraints.txt pins; later calls reuse it.
#
#   PYTHON=...              the interpreter that makes .venv (3.11 or later)
#   HYPOTHESIS_PROFILE=...  dev, ci or deep (see tests/conftest.py); `make test` takes ci
#   TEST_ARGS, BENCH_ARGS, VERIFY_ARGS   further arguments for pytest and `nntk verify`
#   MUTANTS_ARGS=...        which mutants, and where to: see docs/mutants.md
#   GPU_ARGS=...            further arguments for `make gpu`, which alone makes no .venv: see benchmarks/README.md

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell python3.11 -c "" >/dev/null 2>&1 && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
STAMP := $(VENV)/.installed
GALLERY := $(VENV)/.installed-gallery
WORKERS ?= 2

HYPOTHESIS_PROFILE ?= ci
TEST_ARGS ?=
BENCH_ARGS ?=
VERIFY_ARGS ?=
MUTANTS_ARGS ?=
GPU_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# One thread for each worker's linear algebra: the workers already fill the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: help install verify test lint mutants bench gallery gpu format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(STAMP) ## make .venv and install everything (the other targets do so by themselves)

verify: $(STAMP) ## run the whole verification
	$(BIN)/nntk verify $(VERIFY_ARGS)

test: $(STAMP) ## run the tests
	$(ONE_THREAD) HYPOTHESIS_PROFILE=$(HYPOTHESIS_PROFILE) $(BIN)/python -m pytest -n $(WORKERS) --benchmark-disable $(TEST_ARGS)

lint: $(STAMP) ## check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutants: $(STAMP) ## plant changes in the code and list those that its tests do not notice (hours; see docs/mutants.md)
	$(BIN)/python -m tests.mutants --jobs $(WORKERS) $(MUTANTS_ARGS)

bench: $(STAMP) ## run the benchmarks
	@if [ -z "$$(find benchmarks -name '*.py' -print -quit 2>/dev/null)" ]; then \
		echo "benchmarks/ holds no benchmark yet"; \
	else \
		rc=0; $(BIN)/python -m pytest benchmarks --benchmark-enable $(BENCH_ARGS) || rc=$$?; \
		if [ "$$rc" -eq 5 ]; then echo "no benchmark was selected"; rc=0; fi; \
		exit "$$rc"; \
	fi

gallery: $(GALLERY) ## cross-check published optimizers and write docs/gallery.md
	$(ONE_THREAD) $(BIN)/python -m nntk.gallery --write docs/gallery.md

# A Python that was asked for by name, else that of .venv, else the first one that has torch. Nothing is installed.
GPU_PYTHONS := $(if $(filter environment command,$(firstword $(origin PYTHON))),$(PYTHON),$(wildcard $(BIN)/python) $(PYTHON) python3)

gpu: ## run what needs a GPU, within ten minutes; without one it says so
	@for python in $(GPU_PYTHONS); do \
		if "$$python" -c "import sys, importlib.util as u; sys.exit(u.find_spec('torch') is None)" 2>/dev/null; then break; fi; \
	done; \
	exec "$$python" benchmarks/gpu/run.py $(GPU_ARGS)

format: $(STAMP) ## sort imports and lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv, caches and build output
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is the last thing that an install writes, so that a broken install is done again. The build backend is
# installed, pinned, before the project, which is then built without an isolated (and so unpinned) build environment.
# A Python without ensurepip gets its pip from the pip that it was installed with.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(PIP) --version >/dev/null 2>&1 || { \
		echo "making $(VENV) with $(PYTHON)"; \
		rm -rf $(VENV); \
		$(PYTHON) -m venv $(VENV) || { \
			rm -rf $(VENV); \
			$(PYTHON) -m venv --without-pip $(VENV); \
			$(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt pip; \
		}; \
	}
	$(PIP) install --quiet --constraint constraints.txt pip setuptools
	$(PIP) install --quiet --constraint constraints.txt hatchling editables
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	$(PIP) check
	@touch $@

# The published optimizers come on top, for the one target that needs them.
$(GALLERY): $(STAMP)
	@rm -f $@
	$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev,gallery]'
	$(PIP) check
	@touch $@
