# Everything a newcomer runs: `make demo` shows the pipeline at work, `make test` is what has to pass.
PYTHON ?= python3
BIN := .venv/bin
DEMO ?= runs/demo
WORKERS ?= 2

.PHONY: demo test test-portable test-cluster torture lint bench clean
.DEFAULT_GOAL := test

# The environment is made again when what it should hold has changed.
.venv/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "'$(PYTHON)' is not on the PATH; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$$($(PYTHON) --version) is too old, 3.11 is needed; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@# LC-PFN's own network runs with today's torch, whatever it asks for.
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python lcpfn==0.1.3
	@touch $@

demo: .venv/.installed
	$(BIN)/pipeline run --preset demo --experiment $(DEMO) --cluster local
	$(BIN)/pipeline status --experiment $(DEMO)

# A worker makes what its tests share once, so that each takes neighbours, and only at the end those of another.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

# The same tests as on a second processor: instructions of twenty years ago round otherwise. What fails holds here only.
test-portable: .venv/.installed
	ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 OPENBLAS_CORETYPE=Nehalem \
		OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

# A real Slurm cluster on this machine: started where it is not there, and stopped again. As root it installs
# Debian's packages; else they have to be there.
test-cluster: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/cluster -m cluster

# The campaign of faults: kills (on a Slurm cluster of its own too), failed system calls, power cuts, corruption,
# races, hostile files. Minutes; TORTURE=long runs the full numbers.
torture: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxschedchunk=1 -v tests/torture tests/cluster/test_cluster_kills.py \
		-m 'torture or cluster'

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# One thread, so that ratios mean the same on every machine.
bench: .venv/.installed
	@set -e; for script in tests/benchmarks/bench_*.py; do \
		echo "== $$script"; PYTHONPATH=tests:. OMP_NUM_THREADS=1 $(BIN)/python $$script; done

# Results under runs/ are never touched: they may have cost GPU days.
clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -not -path './runs/*' -prune -exec rm -rf {} +
