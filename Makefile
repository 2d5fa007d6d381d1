# make install | setup | demo | test | test-slow | lint | format | help. Python 3.11 or newer (the pins of
# constraints.txt need it): `make test PYTHON=python3.12` picks another one than python3.
VENV := .venv
BIN := $(VENV)/bin
DEMO_STAMP := $(VENV)/.relapet-demo-installed
INSTALL_STAMP := $(VENV)/.relapet-installed
TEST_STAMP := $(VENV)/.relapet-tests-installed
PYTHON ?= python3
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT ?= relapet_demo
# Tests run in so many processes of one thread each, a whole file in one, since its tests share what they made.
WORKERS ?= 2
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install setup demo test test-slow lint format clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

# torch first and exactly: a later resolution must not bring another one in.
$(DEMO_STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one, e.g. PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	$(PIP) install --quiet -c constraints.txt -e '.[report]'
	touch $@

$(INSTALL_STAMP): $(DEMO_STAMP)
	$(PIP) install --quiet -c constraints.txt -e '.[cohort,dicom,evaluation,report]'
	touch $@

$(TEST_STAMP): $(DEMO_STAMP)
	$(PIP) install --quiet -c constraints.txt -e '.[test]'
	touch $@

install: $(INSTALL_STAMP)  ## .venv with all that relapet can do, as in the containers of cluster/

setup: $(TEST_STAMP)  ## .venv with everything the demo, the training and the tests need

demo: $(DEMO_STAMP)  ## make a simulated subject, synthesize its PET, write maps and report.png to $(OUT)
	$(BIN)/relapet demo --out $(OUT) --overwrite

lint: setup  ## ruff's checks and format, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## let ruff format and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## lint and the tests that take seconds
	$(TESTS) -m "not slow"

test-slow: setup  ## the tests that take minutes
	$(TESTS) -m slow

clean:  ## remove .venv and what the builds left
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
