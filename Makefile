# mediamesh: `make help` lists the targets. Tools that are fetched go into .cache and nowhere else,
# except Debian packages, which need root (or sudo without a password).
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE := $(CURDIR)/.cache
BUF := $(CACHE)/npm/node_modules/.bin/buf
# the photographs of `make test` and of `make bench`
SMALL_CORPUS := $(CACHE)/corpus-small
CORPUS := $(CACHE)/corpus
COUNT ?= 500
# tests that need photographs look here unless told otherwise
export MEDIAMESH_TEST_CORPUS ?= $(SMALL_CORPUS)

.PHONY: help up test lint fmt bench clean tools fmt-check clippy docs proto proto-breaking \
	unit e2e e2e-jaeger e2e-mesh kills examples browser corpus corpus-large deny deploy-check

## up        start everything and import a folder: make up DIR=~/Pictures [ARGS="--listen ..."]
up:
	@folder="$${DIR:-}"; folder="$${folder/#\~\//$$HOME/}"; \
	if [ -n "$$folder" ] && [ ! -d "$$folder" ]; then echo "up: no such folder: $$folder" >&2; exit 66; fi; \
	scripts/tools.sh build; \
	exec cargo run --release --bin mediamesh -- up $${folder:+--import "$$folder"} $(ARGS)

## test      everything CI checks; fetches what it needs
test:
	@scripts/test.sh

## lint      format, clippy, documentation, protos
lint: tools fmt-check clippy docs proto proto-breaking

## fmt       format Rust and protos
fmt: $(BUF)
	cargo fmt --all
	$(BUF) format proto --write

## unit      every test of cargo: unit, contract, architecture, documentation, end to end
unit:
	cargo test --workspace --no-fail-fast --quiet

## e2e       only those of the real binary over HTTP and gRPC, killed and restarted
e2e:
	cargo test --workspace --test e2e

## e2e-jaeger  traces of five processes in a real Jaeger, built from its Go module the first time
e2e-jaeger:
	@jaeger="$$(scripts/jaeger.sh)"; \
	MEDIAMESH_TEST_JAEGER="$$jaeger" MEDIAMESH_TEST_REQUIRE=jaeger cargo test --workspace --test e2e jaeger

## e2e-mesh  the fault table of the mesh, whole, beside tonic's own balancer
e2e-mesh:
	cargo bench --workspace --bench faults

## kills     real processes killed at 100 seeded moments of their jobs, in one process and as five
kills:
	MEDIAMESH_TEST_KILL_POINTS=$${POINTS:-100} cargo test --workspace --test e2e kills

## examples  the example clients of docs/examples, in Rust and Python, against the real binary
examples: corpus
	@scripts/examples.sh

## browser   the console in real Chromium
browser:
	@scripts/browser.sh

## deploy-check  compose, chart, alert rules and dashboards, with the tools that read them; needs Go
deploy-check:
	@scripts/deploy.sh

## bench     import rate, memory, search latency and recall on $(COUNT) real photographs
bench: corpus-large
	cargo run --release --bin mediamesh -- bench --corpus "$(CORPUS)" --variants "$(CORPUS)-variants" $(ARGS)

## corpus    the few photographs that the tests use
corpus:
	@scripts/corpus.sh "$(SMALL_CORPUS)" 36

## corpus-large  the photographs of the benchmark, with shrunk, re-encoded, turned and cropped copies
corpus-large:
	@scripts/corpus.sh "$(CORPUS)" $(COUNT)
	@test -f "$(CORPUS)-variants/truth.csv" || \
		cargo run --release --bin corpus -- variants "$(CORPUS)" "$(CORPUS)-variants"

## deny      licences, banned and duplicate crates by cargo-deny (builds it once)
deny:
	@scripts/tools.sh deny
	$(CACHE)/cargo/bin/cargo-deny check bans licenses sources

## tools     compilers, browser, buf: checked, and fetched where that is allowed
tools:
	@scripts/tools.sh all

## clean     build results and fetched tools
clean:
	cargo clean
	rm -rf "$(CACHE)" node_modules

fmt-check:
	cargo fmt --all -- --check

clippy:
	cargo clippy --workspace --all-targets --quiet -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

proto: $(BUF)
	$(BUF) lint
	$(BUF) format proto --diff --exit-code

proto-breaking: $(BUF)
	@scripts/proto_breaking.sh "$(BUF)"

$(BUF):
	@scripts/tools.sh buf

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)
