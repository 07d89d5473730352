# The commands of this repository. `make demo` and `make test` need nothing but Python 3.11+ and make.

PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
INSTALL := $(BIN)/python -m pip install -qq -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup browser demo test test-fast test-pythons check format proto docs golden bench bench-long bench-peers bench-replay bench-guard fuzz mutants coverage soak fault-tools clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: $(VENV)/.installed-demo  ## set up, then run several workflows at once and report on them
	@$(BIN)/python examples/demo.py

test: $(VENV)/.installed-dev browser fault-tools  ## all tests, then the fast ones on each other Python the machine has
	$(BIN)/python -m pytest -n 2 --dist loadfile
	@$(MAKE) --no-print-directory test-pythons

test-fast: $(VENV)/.installed-dev browser fault-tools  ## the tests that take no daemon farm and no MLflow server
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not acceptance"

test-pythons: $(VENV)/.installed-dev
	@$(BIN)/python scripts/test_other_pythons.py

check: $(VENV)/.installed-dev  ## format, lint, types, import rules, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-timings 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/python scripts/generate_wire.py --check
	$(BIN)/python scripts/check_texts.py

format: $(VENV)/.installed-dev  ## put the sources into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(VENV)/.installed-dev  ## rebuild wire/v1 from proto/
	$(BIN)/python scripts/generate_wire.py

docs: $(VENV)/.installed-dev  ## rebuild the generated documents
	$(BIN)/python scripts/generate_cli_docs.py

golden: $(VENV)/.installed-dev  ## keep a small ledger of the version of today, with what it answers, for the tests
	$(BIN)/python scripts/make_golden_ledger.py

bench: $(VENV)/.installed-dev  ## measure everything in under ten minutes; writes docs/performance.md
	$(BIN)/python benchmarks/run.py

bench-long: $(VENV)/.installed-dev  ## with 10^7 events in the ledger; takes half an hour
	$(BIN)/python benchmarks/run.py --size long

bench-peers: $(VENV)/.installed-dev  ## beside peers, each installed into an environment of its own
	$(BIN)/python benchmarks/install_peers.py
	$(BIN)/python benchmarks/run.py --peers

bench-replay: $(VENV)/.installed-dev  ## play recorded production traffic through real processes
	$(BIN)/python benchmarks/replay_traffic.py

bench-guard: $(VENV)/.installed-dev  ## fail when what is fast has become slower (ratios, a minute)
	$(BIN)/python benchmarks/guard.py

fuzz: $(VENV)/.installed-dev  ## 10^6 mutated messages, files and texts (FUZZ_MESSAGES=, FUZZ_SEED=)
	FUZZ_MESSAGES=$${FUZZ_MESSAGES:-1000000} $(BIN)/python -m pytest -q -s -n 0 tests/fuzz

mutants: $(VENV)/.installed-dev  ## break each promise on purpose in a copy; every mutant must be killed by a fast test
	@$(BIN)/python scripts/mutants.py

soak: $(VENV)/.installed-dev fault-tools  ## the long forms of the fault tests; takes hours. SOAK=short, SEED=…, OUTAGE_S=…
	$(BIN)/python tests/faults/soak.py $(ITEMS)

coverage: $(VENV)/.installed-dev  ## coverage of the observability and profiling modules
	$(BIN)/python -m pytest -n 2 -q --cov --cov-report=term-missing tests/observability tests/runtime

browser:
	@scripts/install_chromium.sh

fault-tools:
	@scripts/install_fault_tools.sh

setup: $(VENV)/.installed-dev  ## everything needed to work on the project

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer was found; install one, or name it: make PYTHON=…" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(INSTALL) --upgrade pip
	@touch $@

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "installing agents-obs into $(VENV) …"
	@$(INSTALL) -e '.[daemon,demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "installing agents-obs and the test tools into $(VENV) …"
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed-demo

clean:  ## remove what was built
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo .venv-3.*
	find . -name __pycache__ -type d -not -path './.venv/*' -exec rm -rf {} +
