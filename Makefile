# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up whatever it lacks.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# two workers, each with a broker of its own: most of the time goes into waiting; three are faster, and more exposed to a
# busy machine
WORKERS ?= 2

.PHONY: demo test lowest lint types docs check coverage wheel bench fuzz soak long clean help

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(READY)  ## watch a simulated race day arrive as typed events (about 20 seconds)
	@$(BIN)/rbhq-stream demo

test: $(READY)  ## everything, against a real Apache Kafka over TLS and SCRAM
	@$(BIN)/python -m tests.broker.prepare
	@$(BIN)/python -m tests.postgres.install
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: ARGS += --cov --cov-report=term
coverage: test  ## the same, and which lines and branches the tests run (some minutes longer)

lowest:  ## the tests that need no Java, with the lowest versions of the dependencies (some minutes)
	@test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	@.venv-lowest/bin/python -m pip install -q --upgrade 'pip>=25.1'
	@.venv-lowest/bin/python -m tests.lowest -q -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(READY)  ## style, import rules
	@$(BIN)/ruff check rbhq_stream tests docs/conf.py
	@$(BIN)/ruff format --check rbhq_stream tests docs/conf.py
	@$(BIN)/lint-imports

types: $(READY)  ## mypy --strict and pyright
	@$(BIN)/mypy
	@$(BIN)/pyright

docs: $(READY)  ## the site, in build/site; its links and examples are checked
	@$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs build/site
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/test_docs*.py

wheel: $(READY)  ## build the distribution into dist/
	@$(BIN)/python -m pip install -q build && $(BIN)/python -m build -q

bench: $(READY)  ## speed, against a hand-written loop and typed peers (some minutes)
	@$(BIN)/python -m tests.broker.prepare
	@$(BIN)/python -m tests.bench $(ARGS)

fuzz: $(READY)  ## ten minutes of coverage-guided fuzzing of decode
	@$(BIN)/python -m pip install -q atheris
	@$(BIN)/python tests/fuzz/fuzz_decode.py --seconds 600

soak: $(READY)  ## random faults for ten minutes
	@$(BIN)/python -m tests.broker.prepare
	@$(BIN)/python -m tests.reliability.soak --seconds 600 $(ARGS)

long: $(READY)  ## outages and storms in their long form (about an hour)
	@$(BIN)/python -m tests.broker.prepare
	@$(BIN)/python -m tests.postgres.install
	@RBHQ_LONG=1 $(BIN)/python -m pytest --timeout 900 tests/reliability $(ARGS)

clean:  ## forget the virtual environment and all that was built
	rm -rf $(VENV) .venv-lowest dist build htmlcov .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	  || { echo "Python 3.10 or newer is needed: install it, or say which one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv is missing: on Debian or Ubuntu, apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@echo "setting up $(VENV) (once) …"
	@$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -q -e '.[cli]' --group dev
	@touch $@
