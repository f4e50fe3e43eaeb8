# `make` or `make help` lists the targets.

# Where cargo builds to; cargo reads the same variable.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run test setup tune fmt lint chaos hosts advice fuzz bench bench-cache growth seeds-report validate dist clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# exec: Ctrl-C reaches shoal itself, and make waits for it to drain.
run: ## Build and start a local fleet; options in ARGS, as in make run ARGS="--observe"
	@deploy/setup.sh $(filter --observe,$(ARGS))
	@deploy/release.sh
	@exec "$(TARGET_DIR)/release/shoal" up $(ARGS)

test: ## Check format and lints, run all tests
	@deploy/setup.sh --tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo build --workspace --bins
	cargo test --workspace

setup: ## Fetch nats-server and ONNX Runtime into .tools/ (part of run and test)
	@deploy/setup.sh

tune: ## Find the fastest way to compute a model here: make tune MODEL=resnet50 IMAGES=photos ARGS="--precision fast"
	@deploy/setup.sh --fast
	@deploy/release.sh
	@exec "$(TARGET_DIR)/release/shoal" tune "$(MODEL)" --images "$(IMAGES)" $(ARGS)

fmt: ## Format the code
	cargo fmt --all

lint: ## Check format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# The last one mounts a small disk, in a namespace where it may.
CHAOS := cargo test --workspace --test chaos -- --ignored --nocapture --test-threads=1
chaos: setup ## Kill everything at random for minutes and account for every job
	cargo build --workspace --bins
	$(CHAOS) long
	unshare --user --map-root-user --mount $(CHAOS) full_disk

# Six hosts are network namespaces of a namespace of its own, which most systems let anybody have.
hosts: setup ## Cut hosts off, slow their links down, and account for every job
	cargo build --workspace --bins
	cargo test --workspace --test hosts --no-run
	unshare --user --map-root-user --mount --net sh -c 'mount -t tmpfs tmpfs /run && \
	  cargo test --offline --workspace --test hosts -- --ignored --nocapture'

advice: setup ## Follow what `shoal why` advises in three situations, and compare the gains (minutes)
	@deploy/release.sh
	SHOAL_BINARIES="$(TARGET_DIR)/release" cargo test --workspace --test bottleneck -- --ignored --nocapture

fuzz: setup ## Feed damaged inputs to every door for minutes (SHOAL_FUZZ_RUNS, SHOAL_FUZZ_SEED)
	cargo build --workspace --bins
	SHOAL_FUZZ_RUNS=$${SHOAL_FUZZ_RUNS:-5000000} cargo test --workspace --test fuzz -- --nocapture

bench: setup ## Measure against the in-process limit; writes docs/benchmark.md (ROUNDS, SECONDS_EACH, BASELINE=1)
	@loadtest/bench.py

growth: setup ## Measure over connections, images, workers, backlog, gateways, a long run; writes docs/growth.md (14 minutes)
	@loadtest/growth.py

bench-cache: setup ## Measure repeated images against a bare warp handler
	@loadtest/bench-cache.sh

seeds-report: setup ## Repeat the load tests of the systems replaced; writes docs/seeds.md (SEEDS, STRETCH, MODEL; 17 minutes)
	@loadtest/seeds.py

validate: setup ## Hold compose, Kubernetes and systemd files against their own tools, fetched where possible
	@deploy/validate.sh

dist: ## Build a release with checksums, completions and manual pages into dist/
	cargo build --release --locked --workspace --bins
	@deploy/dist.sh "$(TARGET_DIR)/release"

clean: ## Remove what was built and fetched (not .shoal/, which holds a fleet's data)
	cargo clean
	rm -rf .tools
