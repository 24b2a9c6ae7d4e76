# make demo       Tables 1 and 2 on Digits-MLT, from nothing
# make install    the environment, in .venv
# make test       the tests, on every core
# make test-fast  most of them: those that start no process, server or browser
# make soak       the long tests of what must survive
# make mutants    do the fast tests notice small faults in the code that decides numbers?
# make lint       formatter, linter, type checker, import direction
# make format     what make lint asks for

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo install test test-fast soak mutants lint format
.DEFAULT_GOAL := demo

demo: install
	$(BIN)/mltbench run --table 1 --table 2 --seeds 3
	$(BIN)/mltbench report
	@echo
	@echo "Open mltbench-results/report/index.html in a browser."
	@echo "Every run, with parameters and curves, in MLflow (it takes half a minute to start):"
	@echo "  $(BIN)/mlflow ui --backend-store-uri sqlite:///mltbench-results/mlflow.db"
	@echo "  then open http://127.0.0.1:5000/#/experiments/1/runs?viewStateShareKey=methods&workflowType=machine_learning&compareRunsMode=CHART"

install: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11, 4) else "mltbench needs Python 3.11.4 or newer; call make with PYTHON=python3.12, say")'
	@echo "Installing the environment into .venv (1 to 3 minutes; on Linux 5.5 GB, most of it CUDA for torch)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mkdir -p .venv/types && ln -sfn ../.. .venv/types/mltbench
	@touch $@

# Every process of the tests would compile what it imports anew.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test: install
	$(PYTEST)

test-fast: install
	$(PYTEST) -m "not soak and not slow"

soak: install
	$(BIN)/python -m pytest -m soak

mutants: install
	$(BIN)/python tests/mutation/run.py $(MUTANTS)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --quiet tests/contracts/test_architecture.py tests/contracts/test_imports.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
