# Two commands for a machine that has Python (3.10 or newer) and make:
#   make demo   installs into .venv, then sorts a generated recording and says how well that went
#   make test   installs into .venv, then runs the tests
#   make docs   installs into .venv, then builds the documentation in docs/_build/html
#   make notebooks  installs into .venv, then makes the notebooks of the examples and runs each
# For those who change the package:
#   make test-all      runs the slow tests, too
#   make test-oldest   builds the wheel, installs it into .venv-oldest with the oldest releases that it allows, and tests it
#   make test-newest   the same in .venv-newest with the newest releases
# Variables: PYTHON (the interpreter), VENV (the environment), TORCH_ARGS (for pip, such as an --index-url of CPU builds),
# PYTEST_ARGS (which tests of the wheel are run), TEST_JOBS (how the tests are spread over the cores).

PYTHON ?= python3
VENV ?= .venv
TORCH_ARGS ?=
PYTEST_ARGS ?= -m "not slow"
# The tests of one file share what is slow to make, so that a file goes to one process.
TEST_JOBS ?= -n logical --maxprocesses 4 --dist loadfile
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
INSTALLATION := pyproject.toml constraints.txt $(wildcard hook/*)

.PHONY: demo test test-all test-oldest test-newest lint docs notebooks clean

demo: $(VENV)/.installed
	$(BIN)/huidurep demo --output huidurep_demo --overwrite

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow" $(TEST_JOBS)

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest

# No `python -m pytest` here: it would put the checkout first in the import path, and the wheel would not be tested.
test-oldest test-newest: test-%: $(VENV)-%/.installed
	rm -rf $(VENV)-$*/wheel
	$(PIP_OF_WHEEL) wheel --no-deps --wheel-dir $(VENV)-$*/wheel .
	$(PIP_OF_WHEEL) install --no-deps --force-reinstall $(VENV)-$*/wheel/*.whl
	HUIDUREP_FROM_WHEEL=1 $(VENV)-$*/bin/pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

notebooks: $(VENV)/.installed-docs
	$(BIN)/python docs/notebooks.py --run

# PyTorch first: resolved by itself, pip takes a small CPU build where the machine offers one.
$(VENV)/.installed: $(INSTALLATION)
	@echo "Installing into $(VENV): a few minutes, PyTorch is large."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_ARGS) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable ".[test,test-curation]"
	touch $@

PIP_OF_WHEEL = $(VENV)-$*/bin/python -m pip --disable-pip-version-check --quiet
CONSTRAINTS_oldest := -c constraints-oldest.txt

# What the wheel needs, by installing it once.
$(VENV)-oldest/.installed $(VENV)-newest/.installed: $(VENV)-%/.installed: pyproject.toml constraints-oldest.txt
	@echo "Installing into $(VENV)-$*: a few minutes, PyTorch is large."
	test -x $(VENV)-$*/bin/python || $(PYTHON) -m venv $(VENV)-$*
	$(PIP_OF_WHEEL) install $(CONSTRAINTS_$*) $(TORCH_ARGS) torch
	$(PIP_OF_WHEEL) install --upgrade $(CONSTRAINTS_$*) ".[test]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest huidurep_demo docs/_build docs/auto_examples docs/api/generated docs/api_names.rst docs/sg_execution_times.rst .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
