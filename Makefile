# `make smoke` is a quick look, `make run` trains, `make test` tests. All set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Of pyproject.toml: `test,cuda` for NVIDIA GPUs, `test,tpu` for TPUs; with `test,bench` the tests
# that compare with PyTorch run too, with `test,docs` one can `make docs`. Once chosen they stay, until others are named.
EXTRAS ?= $(or $(shell cat $(VENV)/extras 2>/dev/null),test)
comma := ,
STAMP := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: run cost smoke test test-fast lint types docs setup clean

run: cost setup
	$(BIN)/python experiments/run.py --model physics $(ARGS)

cost:
	@echo "AlexNet with the ring force, ten epochs on CIFAR-10: about half an hour on two CPU cores,"
	@echo "minutes on an accelerator; CIFAR-10 is downloaded first (170 MB) where it is not prepared."
	@echo "A quick look: make smoke. Fewer epochs: make run ARGS=\"--epochs 3\". Stop it at will:"
	@echo "the same command goes on."

smoke: setup
	@echo "A small AlexNet with the ring force on 200 of scikit-learn's digits: no download, under a minute."
	$(BIN)/python experiments/run.py --recipe smoke --model physics $(or $(ARGS),--epochs 6)

test: setup
	$(BIN)/python -m pytest $(ARGS)

test-fast: setup
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: setup
	$(BIN)/mypy

# The site, in build/site; needs the extra `docs`. A warning is an error.
docs: setup
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html -c docs/site . build/site

setup: $(STAMP)

# Installed anew whenever a dependency changes; constraints.txt holds the versions known to work.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	echo $(EXTRAS) > $(VENV)/extras
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
