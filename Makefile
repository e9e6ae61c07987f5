# Every target makes the environment that it needs. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
EXTRA ?= cpu
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo serve test coverage test-slow check format protos docs protos-baseline gpu-check loadtest clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# The serving environment: no torch. EXTRA=gpu takes ONNX Runtime's GPU build.
$(BIN)/.serve: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else "Moodstream needs Python 3.11 or 3.12, this is %d.%d: set PYTHON=" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA),loadtest]'
	@touch $@

# Everything: training, tests and checks as well.
$(BIN)/.dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRA),train,loadtest,test,dev]'
	@touch $@ $(BIN)/.serve

demo: $(BIN)/.serve ## watch a clip being read, live (CLIP=path for your own, TRANSCRIPT=text or path)
	@$(BIN)/python -m client stream --spawn $(if $(CLIP),'$(CLIP)') $(if $(TRANSCRIPT),--transcript '$(TRANSCRIPT)')

serve: $(BIN)/.serve ## run the server on 127.0.0.1:50051 (ARGS= for its options)
	$(BIN)/python -m server $(ARGS)

loadtest: $(BIN)/.serve ## eight live sessions against a server of its own (ARGS= for more)
	$(BIN)/python -m loadtest sessions --spawn --sessions 8 --seconds 30 $(ARGS)

test: $(BIN)/.dev ## run the tests, print the ten slowest (ARGS= for pytest's options)
	$(BIN)/python -m pytest $(ARGS)

coverage: $(BIN)/.dev ## run the tests on two processes; branch coverage below 90 % is an error
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered $(ARGS)

test-slow: $(BIN)/.dev ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(BIN)/.dev ## lint, types, import rules, protos
	ruff check
	ruff format --check
	mypy
	lint-imports
	$(BIN)/python protos/generate.py --check
	$(BIN)/python protos/generate.py --image $(VENV)/image.binpb
	buf lint $(VENV)/image.binpb --config protos/buf.yaml
	hadolint deploy/frontend.Dockerfile deploy/triton.Dockerfile
	check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	buf breaking $(VENV)/image.binpb --against protos/baseline.binpb --config protos/buf.yaml

format: $(BIN)/.dev ## format the code
	ruff check --fix
	ruff format

protos: $(BIN)/.dev ## generate the stubs
	$(BIN)/python protos/generate.py

docs: $(BIN)/.dev ## generate the pages that are made of the code
	$(BIN)/python -m server.settings_page > docs/limits.md

protos-baseline: $(BIN)/.dev ## move the baseline of the breaking-change check, on purpose
	$(BIN)/python protos/generate.py --image protos/baseline.binpb

gpu-check: $(BIN)/.dev ## run every student on this machine's GPU and write a report
	$(BIN)/python -m training gpu-check

clean: ## remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
