# Everything runs in .venv, which the first target sets up from requirements-dev.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: demo overview experiments test test-gpu test-integrations test-elsewhere lint format docs bench lock clean

$(VENV)/ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/integrations: $(VENV)/ready requirements-integrations.txt
	$(BIN)/pip install --quiet --requirement requirements-integrations.txt
	touch $@

demo: $(VENV)/ready  ## find a learning rate and train with it, in PyTorch and in Keras
	$(BIN)/lrsched demo

overview: demo  ## the picture of the README, from the demo
	cp demo-output/pytorch_mnist-5k.png docs/overview.png

# An hour on two cores; what is finished stays in experiment-output.
NAMES = $$($(BIN)/python -c "from lrsched.experiments.catalog import EXPERIMENTS; print(*EXPERIMENTS)")
experiments: $(VENV)/ready $(VENV)/integrations  ## every experiment, and the tables and pictures of docs/experiments.md
	mkdir -p docs/experiments
	for name in $(NAMES); do \
		$(BIN)/lrsched experiment $$name --out experiment-output || exit 1; \
		cp experiment-output/$$name.png docs/experiments/; done
	sed '/^<!-- below/q' docs/experiments.md > experiment-output/page
	for name in $(NAMES); do \
		echo; sed 's#](\([a-z_]*.png\))#](experiments/\1)#' experiment-output/$$name.md; \
		done >> experiment-output/page
	mv experiment-output/page docs/experiments.md

test: $(VENV)/ready $(VENV)/integrations  ## all tests, those of the trainers included
	$(BIN)/python -m pytest

test-integrations: $(VENV)/integrations  ## only the trainers: Lightning, Transformers, Accelerate, ignite
	$(BIN)/python -m pytest tests/lrsched_torch/integrations

test-elsewhere: $(VENV)/ready  ## as on other machines, without the trainers; SEED=3 repeats a run, ARGS are pytest's
	$(BIN)/python tests/elsewhere.py $(if $(SEED),--seed $(SEED)) $(ARGS)

test-gpu: $(VENV)/ready  ## what needs a CUDA device; skips with a reason where there is none
	$(BIN)/python -m pytest -m gpu
	for backend in tensorflow jax torch; do \
		KERAS_BACKEND=$$backend LRSCHED_BACKEND_TESTS=1 \
		$(BIN)/python -m pytest -m gpu tests/lrsched_tf/backend || exit 1; done

lint: $(VENV)/ready  ## ruff and mypy, as in CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/ready  ## the pages of docs/ and the docstrings as HTML, in site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/ready $(VENV)/integrations  ## every benchmark, as ratios to the peers
	for script in $$(ls benchmarks/*.py | grep -vE "timing|counts") benchmarks/lr_finders/leaderboard.py; do \
		echo "== $$script"; $(BIN)/python $$script || exit 1; done

# One set of pins for all systems and Pythons; those of the last time stay, unless UPGRADE=--upgrade.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads \
	--no-annotate --custom-compile-command "make lock" $(UPGRADE)

lock: $(VENV)/ready  ## requirements-*.txt from requirements-*.in
	for name in dev integrations; do \
		$(LOCK) requirements-$$name.in --output-file requirements-$$name.txt || exit 1; done
	# The CUDA libraries are left to the torch that is installed: each of its builds pins its own.
	sed -i.bak -E '/^(cuda|nvidia|triton)-?[a-z0-9-]*==/d' requirements-*.txt && rm requirements-*.txt.bak

clean:
	rm -rf $(VENV) site demo-output experiment-output build dist *.egg-info
