# Sets itself up: every target first makes the virtual environment it needs (see CONTRIBUTING.md).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Stamps. They carry the path of the checkout: the scripts in a virtual environment do, so a moved or copied one is of no use.
HERE := $(subst /,-,$(CURDIR))
PINNED := $(VENV)/.pinned$(HERE)
READY := $(VENV)/.ready$(HERE)

# What `make run` runs.
RUN := $(BIN)/headgated --example examples/canal --state-dir .run/state --socket .run/headgate.sock

# What `make breaking` compares the protocol with: the last release.
AGAINST ?= .git\#tag=$(shell git describe --tags --abbrev=0)

# How often `make torture` does what it does; how long `make soak` runs, and how often it prints, in seconds.
TIMES ?= 1000
SECONDS ?= 3600
EVERY ?= 60

# QUICK=1: `make bench` at small sizes; ONLY=latency: one benchmark of it; MINUTES=3: about how long the rounds of one may take;
# MOST=10000: files in the largest tree.
QUICK ?=
ONLY ?=
MINUTES ?=
MOST ?=
BENCH := build/bench
LIMITS := $(patsubst benchmarks/limits/%.c,$(BENCH)/%,$(wildcard benchmarks/limits/*.c))
CC ?= cc

# Passed to pytest: make test ARGS='-k rollback -x'
ARGS ?=

# Pins and hashes only: no address of a package index gets into a file.
COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --extra daemon --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# protoc looks for its plugins in PATH.
GENERATE := PATH="$(CURDIR)/$(BIN):$$PATH" tools/generate-protocol

export BUF_CACHE_DIR := $(CURDIR)/build/buf

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test clients torture soak bench lint lint-python lint-types lint-imports lint-protocol lint-docs format proto docs man breaking package deb lock setup clean

help: ## say what there is to make
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-10s %s\n' "$$name" "$$what"; done

run: $(READY) ## set up, then run the daemon on the example here; Ctrl-C ends it
	@mkdir -p .run
	@exec $(RUN)

test: $(READY) clients ## run the tests; ARGS='...' goes to pytest
	@$(BIN)/pytest $(ARGS)

clients: ## build the examples in other languages for the tests, where what they need is there
	@tools/build-clients build/clients || echo "going on without; their tests are skipped" >&2

torture: $(READY) ## kill, fill and race for hours; TIMES=1000 says how often
	@HEADGATE_TORTURE=$(TIMES) $(BIN)/pytest -s -m torture $(ARGS)

soak: $(READY) ## keep a daemon busy for SECONDS=3600 and print what it takes
	@$(BIN)/python -m tests.torture.soak --seconds $(SECONDS) --every $(EVERY)

bench: $(READY) $(LIMITS) ## measure speed beside peers and limits, write docs/performance.md; QUICK=1, ONLY=latency
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(addprefix --only ,$(ONLY)) $(addprefix --minutes ,$(MINUTES)) $(addprefix --most ,$(MOST))

$(BENCH)/%: benchmarks/limits/%.c
	@mkdir -p $(@D)
	@command -v $(CC) >/dev/null || { echo "cannot compile $<: there is no $(CC); on Debian: apt-get install gcc libc6-dev" >&2; exit 1; }
	$(CC) -O2 -Wall -Wextra -pthread -o $@ $<

lint: lint-python lint-types lint-imports lint-protocol lint-docs ## check style, types, layers, protocol and what is generated

lint-python: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

lint-types: $(READY)
	$(BIN)/mypy

lint-imports: $(READY)
	$(BIN)/lint-imports --no-logo

lint-protocol: $(READY)
	$(BIN)/buf lint
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(GENERATE) "$$fresh" && \
	diff -r --exclude=__pycache__ client/headgate/v1 "$$fresh/headgate/v1" || \
		{ echo "cannot accept client/headgate/v1: it is not what proto/ generates; run: make proto" >&2; exit 1; }

lint-docs: $(READY)
	@$(BIN)/python tools/api_reference.py | diff docs/api.md - || \
		{ echo "cannot accept docs/api.md: it is not what proto/ and the daemon's source say; run: make docs" >&2; exit 1; }

format: $(READY) ## put the code into its form, and fix what can be fixed safely
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

proto: $(READY) ## generate client/headgate/v1 and docs/api.md from proto/
	$(GENERATE) client
	@$(MAKE) docs

docs: $(READY) ## generate docs/api.md from proto/ and the daemon's source
	@$(BIN)/python tools/api_reference.py >docs/.api.md && mv docs/.api.md docs/api.md

man: $(READY) ## write the manual pages to build/man
	@$(BIN)/python tools/manual_pages.py build/man

breaking: $(READY) ## find changes of the protocol that break its users since the last release
	$(BIN)/buf breaking --against '$(AGAINST)'

package: $(READY) ## build the wheel and try it where nothing but requirements/runtime.txt is installed
	@rm -rf build/wheel build/venv
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	@$(PYTHON) -m venv build/venv
	@build/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@build/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-index build/wheel/*.whl
	@build/venv/bin/pip check
	build/venv/bin/headgate --help >/dev/null
	build/venv/bin/headgated --help >/dev/null

deb: $(READY) ## build the Debian package, build/deb/headgate_*.deb
	@packaging/build-deb $(BIN)/pip build/deb

lock: $(READY) ## pin the dependencies anew, LOCK=--upgrade for the newest
	$(COMPILE) $(LOCK) -o requirements/runtime.txt
	$(COMPILE) $(LOCK) --group dev --constraint requirements/runtime.txt -o requirements/dev.txt

setup: $(READY) ## make the virtual environment, nothing more

clean: ## remove what make made, .venv and the example's state included
	rm -rf $(VENV) .run build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find client daemon tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The pins hold the build tools too, so nothing is fetched that is not pinned.
$(READY): $(PINNED) pyproject.toml
	@$(INSTALL) --no-deps --no-build-isolation --no-index -e .
	@touch $@

# Begun afresh unless it was finished here before; changed pins are installed over the old ones.
$(PINNED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cannot set up $(VENV): Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || tools/debian-packages python3-venv
	@echo "setting up $(VENV): fetching the pinned dependencies" >&2
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
