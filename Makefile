# Everything a developer runs. `make help` lists it.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/demo

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check format bench clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile
	@echo "PYTHON=python3.12 chooses the interpreter (3.11 or newer) that the environment $(VENV) is made with."

install: $(INSTALLED) ## make the environment; again only after pyproject.toml has changed

$(INSTALLED): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "there is no '$(PYTHON)' here; install Python 3.11 or newer, or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lowerfunnel needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); choose another one: make PYTHON=python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## run the main job in a synthetic world, try the model there; ends with the paths of the pages
	$(BIN)/lowerfunnel run recipes/demo.toml --out $(DEMO)
	$(BIN)/lowerfunnel world experiment $(DEMO) --days 14
	@test -s $(DEMO)/report.html || { echo "the run ended without $(DEMO)/report.html" >&2; exit 1; }
	@echo "report: $(CURDIR)/$(DEMO)/report.html"

test: $(INSTALLED) ## run the tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-slow: $(INSTALLED) ## run the slow tests
	@$(BIN)/python -m pytest -m slow $(ARGS) || { code=$$?; test $$code -eq 5 && echo "there are no slow tests"; }

check: $(INSTALLED) ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED) ## run every benchmark, each figure with its floor and interval
	@set -e; for bench in benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python "$$bench" $(ARGS); done

clean: ## delete caches, builds and the demo's run; the environment stays
	rm -rf $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
