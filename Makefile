# make study     the depth study on the bundled digits, then its tables, figures and report
# make train     one residual network on the bundled digits
# make help      everything else
PYTHON ?= python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
ARGS ?=

DATASET ?= digits
SEEDS ?= 1
FAULTS ?= 100
LOGDIR ?= multirun
STUDY_digits = depth_study_digits
STUDY_mnist = depth_study
STUDY = $(or $(STUDY_$(DATASET)),$(error DATASET=$(DATASET): must be digits or mnist))

.DEFAULT_GOAL := help
.PHONY: help setup study train test test-slow test-launchers faults lint format dashboard clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: .venv/dev ## the virtual environment with all that the targets need, in the versions of constraints.txt

# TORCH_INDEX: where to get PyTorch without CUDA; see docs/setup.md
.venv/ready: pyproject.toml constraints.txt
	@echo "Setting up .venv; the first time takes a few minutes"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is another: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -z "$(TORCH_INDEX)" || $(PIP) --index-url "$(TORCH_INDEX)" torch torchvision
	@$(PIP) -e .
	@$(BIN)/python -m labs.replicas.compile
	@touch $@

.venv/dev: .venv/ready
	@$(PIP) -e '.[dev]'
	@touch $@

study: .venv/ready ## the depth study: DATASET=digits (about a minute) or mnist; SEEDS=5
	@$(BIN)/python train.py experiment=$(STUDY) hydra/launcher=joblib 'seed=range($(SEEDS))' $(ARGS)
	@$(BIN)/python -m multirun_analysis multirun/$(STUDY)

train: .venv/ready ## one residual network on the bundled digits; ARGS="model=cnn dataset=cifar10"
	@$(BIN)/python train.py model.residual=true $(ARGS)

test: .venv/dev ## the tests, without the slow ones
	@$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: .venv/dev ## the slow tests alone
	@$(BIN)/python -m pytest -m slow

test-launchers: .venv/dev ## sweeps through joblib, submitit, Slurm, Ray and Optuna; installs these (a real Slurm: see docs)
	@$(PIP) -e '.[dev,slurm,ray,optuna]'
	@REQUIRE_EXTRAS=1 $(BIN)/python -m pytest -m launchers $(ARGS)

faults: .venv/dev ## kill, damage and starve runs (half an hour), and say how often; FAULTS=20 for less
	@FAULTS=$(FAULTS) $(BIN)/python -m pytest -n auto -m faults tests/faults

lint: .venv/dev ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: .venv/dev ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

dashboard: .venv/ready ## TensorBoard on the runs of all studies; LOGDIR=outputs for single runs
	@$(BIN)/tensorboard --logdir $(LOGDIR)

clean: ## remove caches; runs, data and .venv stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info && find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
