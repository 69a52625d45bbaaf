# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
QUIET := --quiet --disable-pip-version-check
PIP := $(BIN)/python -m pip install $(QUIET)
PIP_VERSION := pip==26.3

# Old on purpose: generated code needs a runtime at least as new as its generator, so this
# version is the floor that clients/python declares. mypy-protobuf is of the same time.
GEN_TOOLS := grpcio-tools==1.63.2 mypy-protobuf==3.6.0 setuptools==70.3.0
# Whom the benchmark compares the gateway with; their versions decide the figures.
PEERS := twelvelabs==1.3.6 litellm[proxy]==1.106.2
# Pins without a word of where they came from.
LOCK := --quiet --system-certs --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --upgrade
PROTOS := $(wildcard proto/embedwire/v1/*.proto)
STUBS := clients/python/src

# A key that the shell exports must never be billed by a demo or a test, nor a setting bend one.
SCRUBBED := env -u TWELVELABS_API_KEY $(foreach name,$(shell env | sed -n 's/^\(EMBEDWIRE_[A-Z0-9_]*\)=.*/\1/p'),-u $(name))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip, because it is configured wherever Python is; a newer one than that of the venv knows dependency groups.
.venv/installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	@echo "setting up .venv: a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) $(PIP_VERSION)
	@$(PIP) --constraint constraints.txt --editable 'clients/python[cli]' --editable '.[sandbox]' --group dev
	@touch $@

.venv-gen/installed: Makefile constraints-gen.txt
	@echo "setting up .venv-gen, the pinned generator"
	@$(PYTHON) -m venv --clear .venv-gen
	@.venv-gen/bin/python -m pip install $(QUIET) --requirement constraints-gen.txt
	@touch $@

.PHONY: demo
demo: .venv/installed ## Start a server on the embedded sandbox and embed a text, an image and an audio file
	@$(SCRUBBED) $(BIN)/python clients/python/examples/demo.py

.PHONY: run
run: .venv/installed ## Serve on 127.0.0.1:50051 (the sandbox, or TwelveLabs if TWELVELABS_API_KEY is set)
	@$(BIN)/embedwire-server serve

.PHONY: check
check: .venv/installed .venv-gen/installed ## Lint, types, dependency rules, contract, drift of the stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config .importlinter
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	@$(MAKE) --no-print-directory gen STUBS=build/gen
	diff --recursive --exclude='*.pyc' --exclude=__pycache__ build/gen/embedwire/v1 clients/python/src/embedwire/v1

.PHONY: gen
gen: .venv-gen/installed ## Regenerate the Python stubs from proto/
	@rm -rf $(STUBS)/embedwire/v1 && mkdir -p $(STUBS)/embedwire/v1
	@PATH=.venv-gen/bin:$$PATH .venv-gen/bin/python -m grpc_tools.protoc -Iproto \
		--python_out=$(STUBS) --mypy_out=quiet:$(STUBS) $(PROTOS)
	@PATH=.venv-gen/bin:$$PATH .venv-gen/bin/python -m grpc_tools.protoc -Iproto \
		--grpc_python_out=$(STUBS) --mypy_grpc_out=quiet:$(STUBS) proto/embedwire/v1/embedding.proto
	@printf '"""Generated stubs of the contract, version 1."""\n' > $(STUBS)/embedwire/v1/__init__.py

.PHONY: test
test: .venv/installed ## Run the tests
	$(SCRUBBED) $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: conformance
conformance: .venv/installed ## Run the cases of every client (LANGUAGES="python go": some languages)
	$(SCRUBBED) PYTHONPATH=tests $(BIN)/python -m conformance $(if $(LANGUAGES),--language $(LANGUAGES))

PROMISES := $(SCRUBBED) PYTHONPATH=tests $(BIN)/python -m promises

.PHONY: test-system
test-system: .venv/installed ## Put every promise to the proof, in short
	$(PROMISES) --short

.PHONY: chaos
chaos: .venv/installed ## Put every promise to the proof in full, but for the soak
	$(PROMISES) --without soak

.PHONY: soak
soak: .venv/installed ## Put to the proof in full that nothing grows
	$(PROMISES) --only soak

# In an environment of their own, since they want other versions than the server does.
build/peers/installed: tests/bench/constraints.txt
	@echo "setting up build/peers, the peers of the benchmark: some minutes"
	@$(PYTHON) -m venv --clear build/peers
	@build/peers/bin/python -m pip install $(QUIET) --requirement tests/bench/constraints.txt
	@touch $@

# The gateway that is measured is installed as by its users: with what it declares, and nothing of the tests.
build/server/installed: pyproject.toml clients/python/pyproject.toml constraints.txt
	@$(PYTHON) -m venv --clear build/server
	@build/server/bin/python -m pip install $(QUIET) $(PIP_VERSION)
	@build/server/bin/python -m pip install $(QUIET) --constraint constraints.txt \
		--editable clients/python --editable .
	@touch $@

.PHONY: bench-tools
bench-tools:
	@if ! { command -v h2load && command -v cc; } >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then \
			echo "make bench needs h2load and a C compiler: apt-get install nghttp2-client gcc libc6-dev" >&2; exit 1; \
		fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			nghttp2-client gcc libc6-dev >/dev/null; \
	fi

.PHONY: bench
bench: .venv/installed build/server/installed build/peers/installed bench-tools ## Measure the gateway beside its peers and its floor (ROWS="text sdk": some rows)
	$(SCRUBBED) PYTHONPATH=tests $(BIN)/python -m bench $(ROWS)

.PHONY: lock
lock: .venv/installed ## Pin every dependency anew
	$(PIP) uv==0.13.8
	$(BIN)/uv pip compile $(LOCK) --no-emit-package embedwire --extra sandbox --extra cli --group dev \
		--output-file constraints.txt pyproject.toml clients/python/pyproject.toml
	@printf '%s\n' $(PEERS) | $(BIN)/uv pip compile $(LOCK) --output-file tests/bench/constraints.txt -
	@printf '%s\n' $(GEN_TOOLS) | $(BIN)/uv pip compile $(LOCK) --output-file constraints-gen.txt -
