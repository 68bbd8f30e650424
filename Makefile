# Everything runs in .venv, which each target makes when it is missing or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup search test test-slow test-extras lint clean

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("nas-gym needs Python 3.11 or newer, this is %d.%d: make PYTHON=/path/to/python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(READY)

# The main job. Run it again and it resumes; another seed: make search SEED=1 OUT=runs/digits-1
SEED ?= 0
OUT ?= runs/digits
search: $(READY)
	$(BIN)/nas-gym search --env nas_gym/Digits-v0 --agent reinforce --budget 60 --workers 2 --seed $(SEED) --out $(OUT)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# Ray and Dask, with real clusters on this machine; once installed they are tested by `make test` too
test-extras: $(READY)
	$(BIN)/pip install --quiet --editable '.[dev,ray,dask]'
	$(BIN)/python -m pytest tests/test_clusters.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache
