# Two commands for a fresh machine: `make demo` and `make test`. `make help` names the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo compare test check format clean

help:
	@echo "make demo     train, score and talk to a small vision-language assistant (no download)"
	@echo "make compare  train every connector on the demo's scenes, into docs/connectors-compared.md"
	@echo "make test     run the test suite"
	@echo "make check    lint and types"
	@echo "make format   rewrite the code in the house style"
	@echo "make clean    remove what the other targets made (runs/ stays)"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "isthmus needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/demo/run.py

compare: $(INSTALLED)
	$(BIN)/python examples/demo/compare.py --docs docs

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist demo compare .pytest_cache .mypy_cache .ruff_cache
