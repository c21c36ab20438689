# Every target does its own set-up: a .venv of this folder, with the versions in constraints.txt. Needs Python >= 3.11.
#   make demo ARGS="--tasks 50"      make test ARGS="-k lock -x"      make PYTHON=/path/to/python3 test

ARGS :=
CLAUDE_CODE := claude-agent-sdk==0.2.186 # this bundles version 2.1.329 of the program
BIN := .venv/bin
TEST_PROCESSES = $(shell $(BIN)/python -c "import os; print(3 * (os.cpu_count() or 2) // 2)") # many tests wait
STAMP := .venv/.set-up

# A venv knows its own path: one that was moved or copied, or whose Python is gone, is made anew.
ifneq ($(shell $(BIN)/python -c "" 2>/dev/null && cat $(STAMP) 2>/dev/null),$(shell pwd -P))
STALE := stale
endif
ifdef PYTHON # asked for by name: then an existing .venv must be of that version
ifneq ($(shell $(PYTHON) -V 2>&1),$(shell $(BIN)/python -V 2>&1))
STALE := stale
endif
endif

export PYTHON
unexport PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-agents lint types contract check faults faults-long bench screenshots constraints clean stale

help: ## show this
	@echo "make TARGET [ARGS=\"…\"]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

venv: $(STAMP) ## set up .venv (the others do it by themselves)

$(STAMP): pyproject.toml constraints.txt scripts/set-up $(STALE)
	@scripts/set-up $@

demo: $(STAMP) ## the dashboard on a simulated API: no key, no network
	@$(BIN)/agentdash demo $(ARGS) || case $$? in 3 | 130) ;; *) exit 1 ;; esac # some of its tasks fail by design; 130: quit early

test: $(STAMP) ## the tests
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

test-agents: $(STAMP) ## the tests with the real Claude Code, which this installs (a package of 160 MB)
	@test -x .agents/claude_agent_sdk/_bundled/claude || $(BIN)/python -m pip install -q --disable-pip-version-check \
		--no-deps --target .agents $(CLAUDE_CODE)
	@$(BIN)/python -m pytest -m agents tests/agents $(ARGS)

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(STAMP) ## mypy, strict
	@$(BIN)/python -m mypy

contract: $(STAMP) ## who may import whom
	@$(BIN)/lint-imports --no-logo

check: lint types contract test ## lint, types, contract and test

faults: $(STAMP) ## kill -9, full disks, dead servers …: the fault campaign, ten minutes (ARGS: see --help)
	@$(BIN)/python -m tests.faults $(ARGS)

faults-long: $(STAMP) ## the same for an hour
	@$(BIN)/python -m tests.faults --long $(ARGS)

bench: $(STAMP) ## the benchmarks (ARGS=--quick: a minute)
	@$(BIN)/python -m benchmarks $(ARGS)

screenshots: $(STAMP) ## the pictures of the README, from a run of the demo (PNG: needs Chromium)
	@$(BIN)/python scripts/screenshots

constraints: ## rewrite constraints.txt with the newest versions
	@scripts/make-constraints

clean: ## remove .venv and every cache
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist snapshot_report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
