# Everything a developer runs. `make` alone says what there is.

# Where cargo puts what it builds; CI keeps it outside the clone.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
SYNDARIX := $(TARGET)/debug/syndarix
UI := frontend/dist/.built
UI_SOURCES := $(shell find frontend/src frontend/public frontend/index.html frontend/vite.config.ts frontend/package-lock.json -type f 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-rust test-ui test-browser check advisories bench bench-engine bench-parked
.PHONY: bench-peers bench-gateway chaos chaos-cells soak swarm fairness generate clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: ## Install what building needs, where it is missing
	@.ci/setup demo

$(UI): $(UI_SOURCES)
	@.ci/setup demo
	@echo "building the web UI"
	@cd frontend && npm run --silent build
	@touch $@

build: setup $(UI) ## Build the binary with the web UI in it
	@echo "building syndarix (the first time takes a few minutes)"
	@cargo build --workspace --bins

demo: build ## Start everything and open the main job
	@$(SYNDARIX) demo

test: setup-test $(UI) test-rust test-ui test-browser ## Install what tests need, and run all of them

.PHONY: setup-test
setup-test:
	@.ci/setup test

# A third of the time tests wait for processes: one thread more than there are cores keeps the cores busy.
test-rust:
	RUST_TEST_THREADS=$$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) .ci/with-postgres cargo test --workspace --no-fail-fast

test-ui:
	cd frontend && npm run --silent check

test-browser: $(UI)
	cargo build --workspace --bins
	cd frontend && SYNDARIX_BINARY=$(abspath $(SYNDARIX)) npm run --silent e2e

check: setup ## Format, lints, licences, spelling, generated files
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	.ci/check

advisories: ## Known vulnerabilities of dependencies (needs github.com)
	.ci/check advisories

bench: ## Print figures, and write them to target/bench
	.ci/bench

bench-engine: ## Only the figures of the engine: transitions and jobs
	.ci/bench --engine

RUNS := 1000000
bench-parked: ## Only what RUNS=1000000 parked runs cost (13 GB of disk), and how soon one of them wakes
	.ci/bench --parked $(RUNS)

bench-peers: ## Run the same work on the products a user would pick instead, and print ratios
	.ci/bench-peers

bench-gateway: ## Ask one upstream directly, through Syndarix and through other gateways: latency, CPU, memory
	.ci/bench-gateway

chaos: setup-test build ## Kill it at random moments; the story still gets done. Then every cell with three seeds
	.ci/chaos

OTHER :=
chaos-cells: setup-test build ## Every fault by itself, 20 seeds each (CELLS="name ..."; OTHER=the binary of the release before)
	.ci/chaos --seeds 20 --at-once 2 $(if $(OTHER),--other-binary "$(OTHER)") --cells $(CELLS)

MINUTES := 30
soak: setup $(UI) ## Constant load for 30 minutes (MINUTES=...): nothing stuck, nothing grows that should not
	.ci/chaos --soak $(MINUTES)

swarm: setup $(UI) ## Two processes, 200 agents, 50 stories at once; then with one of the two killed
	.ci/chaos --swarm

fairness: setup $(UI) ## 50 projects with 200 agents and 200 stories at once: does any wait longer than the others?
	.ci/chaos --fairness

generate: ## Make generated files anew: API document, UI types, diagrams, translations
	cargo run --quiet -p syndarix -- openapi > docs/api/openapi.json.new && mv docs/api/openapi.json.new docs/api/openapi.json
	cargo run --quiet -p syndarix-domain --example diagrams
	cargo run --quiet -p syndarix-llm --example translation
	cd frontend && npm run --silent generate

clean: ## Remove what was built
	cargo clean
	rm -rf frontend/dist frontend/node_modules
