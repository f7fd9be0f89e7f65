# make run     start the gateway here, data in ./gateway-data (ARGS="--aet PACS --dicom-port 104" are passed on)
# make test    every test; says which peers it did not find      (ARGS="-k storage" are passed on to pytest)
# make check   what CI asks for: lint, types, test
#
# Each makes .venv when it is not there, and installs again only when pyproject.toml has changed.
# Nothing is needed beside Python 3.11 or later, pip and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: run test quick lint format types check clean

run: $(VENV)/.installed
	@exec $(BIN)/dicom-gateway serve $(ARGS)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(ARGS)

quick: $(VENV)/.installed-dev ## the tests that need neither peers nor patience
	$(BIN)/python -m pytest -m "not slow and not interop and not browser and not faults and not fuzz" $(ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.installed-dev
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Debian splits ensurepip off into python3-venv. Where it is missing, the pip that is there installs the new one.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; then :; \
	else rm -rf $(VENV); \
	  echo "Python can make no virtual environment here: install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; \
	  exit 1; fi

# An old pip answers many requirements at once with ancient versions: it is brought up to date first.
$(VENV)/.pip: | $(BIN)/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24"
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.pip
	@echo "Installing the gateway into $(VENV) (only when pyproject.toml has changed)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.pip
	@echo "Installing the gateway and what its tests need into $(VENV) (only when pyproject.toml has changed)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.installed
