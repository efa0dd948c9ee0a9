# Every target works from a clean clone and brings what it needs; stamps make the second time quick.
PYTHON ?= python3
BIN := .venv/bin
WEB := web/node_modules/.installed
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# What pyproject.toml's addopts leave out: it takes long, needs root or more programs.
SLOW := cluster or lb or netns or autobahn or chaos or scale or peers

.PHONY: install demo test test-all check check-all fmt fuzz coverage lock

install: .venv/.installed  ## the command agent-gateway, in .venv/bin

demo: .venv/.installed  ## the gateway with its demo page; prints the URL
	$(BIN)/agent-gateway demo

test: .venv/.installed $(WEB)  ## all tests, with real servers, browser and Node
	tools/system-packages
	npm --prefix web test
	$(BIN)/pytest -n 3 --dist loadfile

test-all: test  ## and those that take long or need more of the machine (root, for namespaces)
	tools/system-packages all
	$(BIN)/pytest -m "$(SLOW)"
	$(MAKE) fuzz

check: .venv/.installed $(WEB)  ## everything that is checked without running
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	npm --prefix web run check

check-all: check  ## and whether what we depend on has known vulnerabilities (asks the registries)
	tools/audit

fuzz: .venv/.installed  ## the fuzzers for longer, with a report: FUZZ_SECONDS a target, FUZZ_SEED
	FUZZ_SECONDS=$${FUZZ_SECONDS:-30} $(BIN)/pytest tests/fuzz -p no:randomly

fmt: .venv/.installed $(WEB)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	npm --prefix web run fmt

coverage: .venv/.installed  ## protocol/ is covered, branches too, by its own tests alone
	$(BIN)/pytest tests/protocol --cov=protocol --cov-fail-under=100

lock:  ## constraints.txt anew, from the newest of everything
	tools/lock

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(WEB): web/package.json web/package-lock.json
	npm --prefix web ci --no-audit --no-fund
	touch $@
