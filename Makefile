# `make setup` builds .venv; `make demo` and `make test` run in it. pip's own configuration is used as it is.

VENV := .venv
PY := $(VENV)/bin/python
PINS := constraints/cpu.txt
LOG := $(VENV)/setup.log
TORCH := $(shell sed -n '/^torch==/p' $(PINS))
# Asked only if pip's configured indexes and wheel folders do not have torch's CPU build.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
VERSION_OK := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c '$(VERSION_OK)' 2>/dev/null && echo $$p && exit; done; echo python3)
# Compiled afterwards, on all cores: pip compiles on one, which takes longer than its downloads.
PIP := $(PY) -m pip install --quiet --no-deps --no-compile --disable-pip-version-check
ARGS ?=

.PHONY: help setup demo demo-real test test-fast test-nightly lint closure docs wheel wheel-check clean

help:
	@echo "make setup      .venv with stock verl, vLLM and Ray for the CPU, and verl-tir (PYTHON=... to choose the Python)"
	@echo "make demo       train a tiny model with tools on this machine"
	@echo "make demo-real  train SmolLM2-135M-Instruct with tools on this machine (ARGS='--steps 5')"
	@echo "make test       all tests, a tenth of the fuzzing and of the soak (ARGS='-k name' to choose)"
	@echo "make test-fast  the tests that neither run verl and vLLM nor take long: two minutes on two cores"
	@echo "make test-nightly  all tests, the long ones whole"
	@echo "make lint       ruff, mypy and import-linter"
	@echo "make closure    what a training launch imports, by package"
	@echo "make docs       site/, the documents as a web site (extra [docs])"
	@echo "make wheel      dist/*.whl"
	@echo "make wheel-check  the wheel beside verl's stack alone: doctor and two training steps"
	@echo "make clean      remove build outputs (.venv stays; remove it by hand)"

setup: $(VENV)/.installed
	@:

$(PY):
	@$(PYTHON) -c '$(VERSION_OK)' 2>/dev/null || { echo "make setup: needs Python 3.11 or 3.12, and '$(PYTHON)' is neither; install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setup: creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make setup: $(PYTHON) cannot create a virtual environment; on Debian and Ubuntu install its -venv package" >&2; exit 1; }

# torch comes first and only as +cpu, so that nothing later can pull the CUDA build.
$(VENV)/.pins: $(PINS) | $(PY)
	@echo "setup: $(TORCH), about 200 MB"
	@$(PIP) "$(TORCH)" >$(LOG) 2>&1 \
	  || { echo "setup: not on pip's configured indexes; trying $(TORCH_INDEX)"; \
	       $(PIP) --retries 2 --index-url "$(TORCH_INDEX)" "$(TORCH)" >>$(LOG) 2>&1; } \
	  || { echo "make setup: torch's CPU build $(TORCH) was found neither on pip's configured indexes and wheel folders nor at $(TORCH_INDEX); put its wheel into a folder and run 'make setup PIP_FIND_LINKS=/that/folder', or name an index that has it: 'make setup TORCH_INDEX=...' (pip's messages: $(LOG))" >&2; exit 1; }
	@echo "setup: $$(grep -c '^[^#].*==' $(PINS)) pinned packages, about 490 MB; two minutes on a fast network"
	@$(PIP) -r $(PINS) >>$(LOG) 2>&1 || { tail -n 5 $(LOG) >&2; echo "make setup: pip could not install $(PINS) (all its messages: $(LOG))" >&2; exit 1; }
	@$(PY) -m compileall -q -j 0 $(VENV)/lib >>$(LOG) 2>&1 || true  # some packages ship templates that are no Python
	@touch $@

$(VENV)/.installed: $(VENV)/.pins pyproject.toml setup.cfg
	@echo "setup: verl-tir, editable"
	@$(PIP) --no-build-isolation -e .
	@touch $@
	@echo "setup: done, 2.8 GB in $(VENV)"

demo: setup
	@$(VENV)/bin/verl-tir demo $(ARGS)

demo-real: setup
	@$(VENV)/bin/verl-tir demo --model smollm2 $(ARGS)

PYTEST := $(PY) -m pytest -n 2 --dist loadgroup

test: setup
	@$(PYTEST) $(ARGS)

test-fast: setup
	@$(PYTEST) -m "not e2e and not slow" $(ARGS)

# Tenfold fuzzing and the whole soak, and every process of verl makes its imports itself.
test-nightly: setup
	@NIGHTLY=1 $(PYTEST) $(ARGS)

lint: setup
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(PY) -m mypy
	@$(PY) -c 'from importlinter.cli import lint_imports_command as run; run()' --no-logo

closure: setup
	@$(PY) benchmarks/closure.py $(ARGS)

docs: setup
	@$(PY) -c 'import mkdocs, mkdocstrings, material' 2>/dev/null || { echo "make docs: install the extra [docs]: $(PY) -m pip install -e '.[docs]'" >&2; exit 1; }
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "docs: site/index.html"

wheel: setup
	@rm -rf build dist
	@$(PY) -m build --wheel --no-isolation >$(VENV)/wheel.log 2>&1 || { tail -n 20 $(VENV)/wheel.log >&2; exit 1; }
	@rm -rf build verl_tir.egg-info  # whose entry points would stay as they are, and come first in this folder
	@ls dist/*.whl

wheel-check: setup
	@$(PY) benchmarks/wheel_check.py

clean:
	@rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
