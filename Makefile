# Every command that people and CI run is a target here; beside them `.ci/run` only installs what is
# missing and starts a Docker engine.
#
# `demo`, `test`, `fuzz` and `soak` need Rust, a C and a C++ compiler (librdkafka is built from source) and
# make. `lint`, `interop`, `rck`, `smoke` and `bench` also need Python 3.10 or newer with its venv module; they
# make their own virtual environments beside the build output and install pinned versions into them.
# `interop` and `rck` also need PostgreSQL, Java and Maven: Spark takes Java 17 or newer, the kit of `rck`
# Java 17 itself. `smoke` and `bench` need Java and Maven too, for Spark. `images`, `image`, `e2e`, `smoke` and
# `up` need Docker, and `image` needs `strip`.

SHELL := /bin/sh
.DEFAULT_GOAL := help

CARGO  ?= cargo
PYTHON ?= python3

TARGET_DIR := $(abspath $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target))
CACHE_DIR  := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/berglake
# cargo-machete and cargo-fuzz come as source only. Each is built once per version, outside of the clone,
# so that `clean` and a fresh clone do not pay for it again.
TOOLS_DIR  := $(CACHE_DIR)/tools

LINT_VENV    := $(TARGET_DIR)/venv-lint
INTEROP_VENV := $(TARGET_DIR)/venv-interop

MACHETE_VERSION := 0.9.1
MACHETE := $(TOOLS_DIR)/cargo-machete-$(MACHETE_VERSION)/bin/cargo-machete
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ := $(TOOLS_DIR)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz

# The image of all roles; `up` and `smoke` run it.
IMAGE := berglake/berglake:0.1.0
COMPOSE := integration-tests/images/compose --file deploy/docker-compose.yml

SHELL_SCRIPTS := .ci/run examples/movies/demo.sh deploy/make-env $(addprefix integration-tests/images/,\
  engine build compose minio/docker-entrypoint.sh postgres/docker-entrypoint.sh kafka/run \
  trino/bin/run-trino trino/bin/health-check)

.PHONY: help demo build test lint fmt clippy deps spelling scripts doc interop rck e2e image images smoke \
  up down logs bench fuzz soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## run the movies example from raw files to gold tables and through its corrections
	@BERGLAKE_BIN='$(TARGET_DIR)/debug/berglake' BERGLAKE_DEMO_DIR='$(TARGET_DIR)/demo/movies' \
	  sh examples/movies/demo.sh

# The whole workspace and `--examples` make cargo choose the features of dependencies as it does for
# tests: `demo` and `test` then share one build of the dependencies, which is most of the time.
build: ## build the berglake binary (dev profile)
	$(CARGO) build --locked --workspace --bins --examples

# With the places at which tests kill the real binary; a build that people use has none of them.
test: ## run all Rust tests (unit, doc, property, the real binary)
	$(CARGO) test --locked --workspace --features berglake/failpoints

lint: fmt clippy doc deps spelling scripts ## formatting, clippy, docs, dependencies, spelling, scripts

fmt: ## check the formatting
	$(CARGO) fmt --all --check

clippy: ## clippy on all targets, warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets \
	  --features berglake/failpoints,berglake-e2e/docker -- -D warnings

# `--examples` for the same reason as in `build`: shares the checked dependencies with clippy.
doc: ## build the API documentation, warnings are errors
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --lib --bins --examples

# The advisory database is a git repository that an offline CI cannot fetch, so advisories are not
# part of the gate; run `cargo deny check advisories` where the network allows it.
deps: $(LINT_VENV)/ready $(MACHETE) ## licences, bans and sources of dependencies, and unused ones
	PATH='$(LINT_VENV)/bin':"$$PATH" $(CARGO) deny --locked --all-features check bans licenses sources
	$(MACHETE) --skip-target-dir

spelling: $(LINT_VENV)/ready ## check the spelling
	$(LINT_VENV)/bin/typos

scripts: $(LINT_VENV)/ready ## check the shell scripts and the Python sources
	$(LINT_VENV)/bin/shellcheck $(SHELL_SCRIPTS)
	$(LINT_VENV)/bin/ruff check integration-tests benches
	$(LINT_VENV)/bin/ruff format --check integration-tests benches

# The tests start the servers that they need and stop them. One of them runs the catalog's own tests on
# PostgreSQL, hence the build of the Rust tests; built here, its progress is seen.
interop: build $(INTEROP_VENV)/ready ## PyIceberg, DuckDB, Spark, S3 and PostgreSQL on the same tables
	$(CARGO) test --locked --workspace --test it --no-run
	CARGO='$(CARGO)' BERGLAKE_BIN='$(TARGET_DIR)/debug/berglake' \
	  $(INTEROP_VENV)/bin/python -m pytest integration-tests/interop

# Two at a time: most of a test is waiting, for a server to start or for a commit to be seen.
E2E_THREADS ?= 2
e2e: build images ## the binary on real MinIO, PostgreSQL, Kafka and Trino, killed and cut off
	BERGLAKE_BIN='$(TARGET_DIR)/debug/berglake' \
	  $(CARGO) test --locked --workspace --features berglake-e2e/docker --test e2e -- \
	  --test-threads=$(E2E_THREADS) --show-output $(E2E)

images: ## the images of the servers: pulled, or built from package registries
	integration-tests/images/engine status
	integration-tests/images/build

# The binary that `build` made, without its debug information; a build that people use is made by
# `docker build` from the source, in release.
image: build ## the image of all roles around the binary of `make build`
	integration-tests/images/engine status
	rm -rf '$(TARGET_DIR)/image' && mkdir -p '$(TARGET_DIR)/image'
	strip -o '$(TARGET_DIR)/image/berglake' '$(TARGET_DIR)/debug/berglake'
	DOCKER_BUILDKIT=0 docker build --quiet --file deploy/Dockerfile --target runtime --tag '$(IMAGE)' '$(TARGET_DIR)/image'
	@docker image inspect '$(IMAGE)' --format 'image: $(IMAGE), {{.Size}} bytes'

smoke: images image $(INTEROP_VENV)/ready ## the compose file brought up, used, disturbed and taken down
	BERGLAKE_IMAGE='$(IMAGE)' BERGLAKE_BUILD='$(TARGET_DIR)/debug' \
	  $(INTEROP_VENV)/bin/python integration-tests/smoke/smoke.py

up: ## start the platform on docker compose (deploy/.env is written if there is none)
	sh deploy/make-env deploy/.env
	$(COMPOSE) up --detach --wait

down: ## stop it; what is in its volumes stays
	$(COMPOSE) --profile trino down

logs: ## follow its logs
	$(COMPOSE) --profile trino logs --follow --tail 100

# Its PostgreSQL is started by the same helpers as that of `interop`.
rck: build $(INTEROP_VENV)/ready ## run Iceberg's REST Compatibility Kit against the catalog server
	BERGLAKE_BIN='$(TARGET_DIR)/debug/berglake' \
	  $(INTEROP_VENV)/bin/python integration-tests/rck/run.py --work '$(TARGET_DIR)/rck'

bench: $(INTEROP_VENV)/ready ## run berglake and its peers on the same work and print ratios
	$(CARGO) build --locked --release -p berglake -p berglake-benches
	BERGLAKE_BIN='$(TARGET_DIR)/release/berglake' BERGLAKE_BENCH_BIN='$(TARGET_DIR)/release/berglake-bench' \
	  BERGLAKE_BENCH_FORMAT_BIN='$(TARGET_DIR)/release/berglake-bench-format' \
	  BERGLAKE_BENCH_CACHE='$(CACHE_DIR)/bench' \
	  $(INTEROP_VENV)/bin/python benches/bench.py

# The corpora grow beside the build output; `fuzz/corpus` holds what is kept, and `make test` replays it.
FUZZ         ?= metadata manifest_list manifest deletion_vector position_deletes equality_deletes data_file \
  name_mapping location page_index
FUZZ_SECONDS ?= 600
fuzz: $(CARGO_FUZZ) ## fuzz the decoders of the table format, FUZZ_SECONDS each (FUZZ='manifest data_file')
	@for target in $(FUZZ); do \
	  mkdir -p '$(TARGET_DIR)'/fuzz/corpus/$$target fuzz/regressions/$$target && \
	  CARGO_TARGET_DIR='$(TARGET_DIR)/fuzz' '$(CARGO_FUZZ)' run --sanitizer none $$target \
	    '$(TARGET_DIR)'/fuzz/corpus/$$target fuzz/corpus/$$target fuzz/regressions/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 || exit 1; \
	done

# A release build does them several times as fast. A sequence that fails names its seed.
SOAK_SEEDS ?= 1000..3000
soak: ## run thousands of random sequences of operations on a table and a model (SOAK_SEEDS=from..to)
	BERGLAKE_MODEL_SEEDS='$(SOAK_SEEDS)' \
	  $(CARGO) test --locked --release -p berglake-format --test it -- --nocapture model::

clean: ## remove the build output, the virtual environments and the demo
	$(CARGO) clean
	rm -rf '$(LINT_VENV)' '$(INTEROP_VENV)' '$(TARGET_DIR)/demo'

# The marker is written last: an environment whose installation broke off is made again.
$(LINT_VENV)/ready: .ci/lint-requirements.txt
	rm -rf '$(LINT_VENV)'
	$(PYTHON) -m venv '$(LINT_VENV)'
	$(LINT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(INTEROP_VENV)/ready: integration-tests/interop/requirements.txt
	rm -rf '$(INTEROP_VENV)'
	$(PYTHON) -m venv '$(INTEROP_VENV)'
	$(INTEROP_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(MACHETE):
	CARGO_TARGET_DIR='$(TOOLS_DIR)/build' CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
	  $(CARGO) install --locked --version $(MACHETE_VERSION) \
	  --root '$(TOOLS_DIR)/cargo-machete-$(MACHETE_VERSION)' cargo-machete
	rm -rf '$(TOOLS_DIR)/build'

$(CARGO_FUZZ):
	CARGO_TARGET_DIR='$(TOOLS_DIR)/build' CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
	  $(CARGO) install --locked --version $(CARGO_FUZZ_VERSION) \
	  --root '$(TOOLS_DIR)/cargo-fuzz-$(CARGO_FUZZ_VERSION)' cargo-fuzz
	rm -rf '$(TOOLS_DIR)/build'
