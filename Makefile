# make run     start the gateway here, data in ./gateway-data (ARGS="--aet PACS --dicom-port 104" are passed on)
# make test    every test, in two halves side by side; says which peers it did not find
#              (ARGS="-k storage" are passed on to both; `.venv/bin/python -m pytest tests/web` runs a few in one process)
# make versions the quick tests on every Python from 3.11 on that is here, with the newest and the lowest dependencies
# make cases   what real clients, files and reports have shown: a line for each, right or wrong
# make fuzz    fuzz every parser of foreign bytes for so many SECONDS=60 each, SLICES=4 times or until one finds nothing
#              new; KEEP=yes replaces the corpus, TARGETS="pdu xml"
# make schemathesis  requests made of /openapi.json, EXAMPLES=50 of each call: none may be answered 500
# make sbom    the software bill of materials, dist/sbom.cdx.json (CycloneDX), of what an installation holds
# make audit   known vulnerabilities in that (pip-audit)
# make check   what CI asks for: lint, types, test
# make chaos   kills, power cuts and failing disks under mixed load, for HOURS=1 at most (SEED=… KILLS=… POWER_CUTS=…);
#              ends in one line of JSON with its figures
#
# Each makes .venv when it is not there, and installs again only when pyproject.toml has changed.
# Nothing is needed beside Linux, Python 3.11 or later, pip and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SECONDS ?= 60
TARGETS ?=
KEEP ?=
SLICES ?= 1
RELEASE := $(VENV)-release

# Images of containers often set it. Then each of the thousand gateways and commands that tests start would compile the
# gateway anew, and each run of pytest its tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test quick versions cases chaos fuzz schemathesis sbom audit lint format types check clean

run: $(VENV)/.installed
	@exec $(BIN)/dicom-gateway serve $(ARGS)

test: $(VENV)/.installed-dev
	@exec $(BIN)/python -m tests.halves $(ARGS)

quick: $(VENV)/.installed-dev ## the tests that need neither peers nor patience
	$(BIN)/python -m pytest -m "not slow and not interop and not browser and not faults and not fuzz" $(ARGS)

versions: ## each in an environment of its own, .venv-3.12 and so on; some ten minutes each
	@.ci/versions $(ARGS)

cases: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -p tests.support.cases -m case -q $(ARGS)

HOURS ?= 1
chaos: $(VENV)/.installed-dev
	@exec $(BIN)/python -m tests.faults.chaos --hours $(HOURS) $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) \
	  $(if $(POWER_CUTS),--power-cuts $(POWER_CUTS)) $(ARGS)

fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz.run $(TARGETS) --seconds $(SECONDS) --slices $(SLICES) $(if $(KEEP),--keep)

EXAMPLES ?= 50
schemathesis: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz.openapi --examples $(EXAMPLES)

sbom: $(RELEASE)/.installed $(VENV)/.installed-audit
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment $(RELEASE) --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-format JSON --output-file dist/sbom.cdx.json

audit: $(RELEASE)/.installed $(VENV)/.installed-audit
	@$(BIN)/python .ci/audit $(RELEASE)/lib/python3.*/site-packages

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pylint gateway loadtest

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.installed-dev
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

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

# -qq leaves out the warnings of setuptools about editable installations, which are none of the reader's business.
$(VENV)/.installed: pyproject.toml $(VENV)/.pip
	@echo "Installing the gateway into $(VENV) (only when pyproject.toml has changed)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.pip
	@echo "Installing the gateway and what its tests need into $(VENV) (only when pyproject.toml has changed)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-fuzz $(VENV)/.installed-audit: $(VENV)/.installed-%: pyproject.toml $(VENV)/.installed-dev
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e ".[$*]"
	@touch $@

# What a user has who installs the gateway, and nothing else: neither tests nor pip.
$(RELEASE)/.installed: pyproject.toml $(VENV)/.pip
	@rm -rf $(RELEASE) build
	@$(BIN)/python -m venv --without-pip $(RELEASE)
	@$(BIN)/python -m pip --python $(RELEASE)/bin/python install --quiet --disable-pip-version-check .
	@touch $@
