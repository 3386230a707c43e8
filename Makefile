# Needs Python ≥ 3.11 (with venv) and make; everything else is installed into .venv from the locks in requirements/.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first of these that is new enough and can make virtual environments. `make PYTHON=/path/to/python` overrides it.
CANDIDATES := python3.13 python3.12 python3.11 python3
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in $(CANDIDATES); do "$$name" -c '$(USABLE)' 2>/dev/null && echo "$$name" && break; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
COMPILE := pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --extra server --extra postgres --extra redis
ARGS ?=

.PHONY: help serve test check format bench lock clean

help:  ## Show this list
	@echo "Usage: make TARGET [ARGS='…']"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/.stamp-serve  ## Start a gateway with a built-in demo model; ARGS='--port 4100' passes options
	@exec $(BIN)/tallystick serve --demo $(ARGS)

test: $(VENV)/.stamp-test  ## Run the test suite; ARGS='-k journal' passes options to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: $(VENV)/.stamp-test  ## Format, lint, types, import contracts, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python tests/architecture/long_files.py
	@$(MAKE) --no-print-directory test

format: $(VENV)/.stamp-test  ## Rewrite the code to the format that `check` asks for
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

bench: $(VENV)/.stamp-test  ## Measure commits, administration, gateway, rate limits, memory, start and SDK, each beside its yardstick
	$(BIN)/python bench/commits.py
	$(BIN)/python bench/control.py --keys 20000
	$(BIN)/python bench/admission.py
	$(BIN)/python bench/gateway.py
	$(BIN)/python bench/rates.py
	$(BIN)/python bench/sinks.py
	$(BIN)/python bench/dialects.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/sdk.py

# uv makes the locks. Where it is not installed, it comes from pip into a directory that is removed again.
lock:  ## Choose versions anew and write requirements/*.txt with hashes; ARGS='--upgrade' takes the newest
	@$(need_python)
	@set -eu; \
	uv=uv; \
	if ! uv --version >/dev/null 2>&1; then \
	  directory=$$(mktemp -d); trap 'rm -rf "$$directory"' EXIT; \
	  echo "==> uv is not installed; fetching it for this run"; \
	  "$(PYTHON)" -m venv "$$directory"; \
	  "$$directory/bin/python" -m pip --disable-pip-version-check --quiet install uv; \
	  uv="$$directory/bin/uv"; \
	fi; \
	echo "==> requirements/serve.txt"; \
	"$$uv" $(COMPILE) $(ARGS) --group build pyproject.toml -o requirements/serve.txt; \
	echo "==> requirements/test.txt"; \
	"$$uv" $(COMPILE) $(ARGS) --extra aws --extra vertex --group build --group test pyproject.toml -o requirements/test.txt

clean:  ## Remove .venv and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment -----------------------------------------------------------------------------------------
# Stamps live inside .venv, so that they go when it goes. Each is remade when its lock or the project's metadata changes.
# The test lock contains the serve lock (a test checks it), so that either can be installed over the other.

define need_python
if [ -z "$(PYTHON)" ]; then \
  echo "make: Tallystick needs Python 3.11 or newer, with its venv module; none of these has it: $(CANDIDATES)." >&2; \
  echo "make: On Debian or Ubuntu: apt-get install python3 python3-venv. Or name one: make PYTHON=/path/to/python" >&2; \
  exit 1; \
fi
endef

define install
@echo "==> Installing requirements/$(1).txt into $(VENV) (the first time this takes a minute)"
@$(PIP) install --require-hashes -r requirements/$(1).txt
@echo "==> Installing tallystick itself"
@$(PIP) install --no-deps --no-build-isolation -e .
@touch $@
endef

$(VENV)/.stamp-venv:
	@$(need_python)
	@echo "==> Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.stamp-serve: $(VENV)/.stamp-venv requirements/serve.txt pyproject.toml
	$(call install,serve)

$(VENV)/.stamp-test: $(VENV)/.stamp-venv requirements/test.txt pyproject.toml
	$(call install,test)
