# The targets; `make` alone lists them. Everything needs only Python 3.11+, make and a compiler.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup label-studio demo demo-stop check format test test-all bench screenshots clean

python := .venv/bin/python
# three on two cores, as a quarter of their time tests wait; more threads of each get in each other's way;
# files in their order, as those of the longest tests come before the many short ones
pytest := OMP_NUM_THREADS=1 $(python) -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## prepare everything the other targets need
	@scripts/setup

label-studio: setup ## prepare the Label Studio server, in an environment of its own
	@$(python) -m api.demo.label_studio_server

demo: label-studio ## run the whole loop on real photos and leave the service up (IMAGES=DIR CLASSES=a,b FRESH=1)
	@exec .venv/bin/winnow --home winnow-demo demo $(if $(FRESH),--fresh) $(if $(IMAGES),--images "$(IMAGES)") \
		$(if $(CLASSES),--classes "$(CLASSES)")

demo-stop: setup ## stop the servers of a demo that was left running
	@.venv/bin/winnow --home winnow-demo demo --stop

format: setup ## put the code in its one format
	@scripts/tool ruff format . && scripts/tool ruff check --fix .

check: setup ## format, lint, types, import contract
	@scripts/tool ruff format --check .
	@scripts/tool ruff check .
	@$(python) -m mypy
	@scripts/tool lint-imports

test: label-studio ## the default tests, under 15 minutes
	@scripts/browser && $(pytest)

test-all: label-studio ## every test
	@scripts/browser && $(pytest) -m ''

bench: setup ## a benchmark: NAME=... [SCALE=small|full]
	@$(python) -m benchmarks.$(subst -,_,$(NAME)) $(if $(SCALE),--scale $(SCALE))

screenshots: label-studio ## make the pictures in docs/ again
	@$(python) -m tests.e2e.screenshots

clean: ## remove what this clone made; the shared environments stay
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
