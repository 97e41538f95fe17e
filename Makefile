# `make demo` runs the whole round on this machine; `make test` proves it. Both set up what they need first.
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.ready
SERVE ?= 1

.PHONY: setup demo serve test check bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt models.txt scripts/setup
	@scripts/setup
	@touch $(STAMP)

demo: setup
	@$(BIN)/preceptor demo $(if $(filter 0,$(SERVE)),--no-serve)

serve: setup
	@$(BIN)/preceptor serve

test: setup
	@scripts/browser
	@$(BIN)/pytest

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench: setup  # hours in all; what needs a demo, data or a GPU that is not here says so and is skipped
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf .venv .preceptor build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
