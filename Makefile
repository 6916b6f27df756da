# Wasmbed. `make help` lists what there is; README.md says what you then see.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN       := bin
COMMANDS  := standalone broker device functions gateway provisioner webui wasmbed
RACE      := $(if $(filter 0,$(RACE)),,-race)
COUNT     ?= 1
FUZZTIME  ?= 5s
BENCHTIME ?= 3s
# What carries the embedded API server is compiled without the race detector and exercised as a process.
HEAVY     := /cmd/standalone
# What needs a cluster is `make test-cluster`.
AWAY      := /deploy/cluster
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X wasmbed.io/wasmbed/internal/run.Version=$(VERSION)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  make test RACE=0       without the race detector;  COUNT=10: each test ten times"

.PHONY: need-run
need-run:
	@./.ci/need go cc

.PHONY: need-test
need-test:
	@./.ci/need go cc node redis-server

.PHONY: dashboard
dashboard: ## the dashboard's app into webui/dist, when npm is there and a source changed
	@./webui/app/build.sh

.PHONY: build
build: need-run dashboard ## all commands into bin/
	@mkdir -p $(BIN)
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/ $(COMMANDS:%=./cmd/%) ./cmd/standalone/kubeapi
	@ln -sf wasmbed $(BIN)/kubectl-wasmbed

.PHONY: run
run: build ## everything on this machine, with three devices and a sample application
	@exec $(BIN)/standalone

.PHONY: test
test: need-test build test-c test-qemu test-engine test-go fuzz test-scenarios test-ui test-firmware ## all tests; what could not run is said at the end
	@./.ci/skipped

# Tests print "not run: ..." for what is missing on this machine; .ci/skipped collects it.
NOTRUN    := build/not-run

.PHONY: test-c
test-c: ## the device's C core: ASan, UBSan, power and link cut at every step
	$(MAKE) -C firmware/tests test

.PHONY: test-qemu
test-qemu: ## the C core on a Cortex-M3 in QEMU (needs arm-none-eabi-gcc, qemu-system-arm)
	@mkdir -p $(NOTRUN); $(MAKE) -C firmware/tests qemu 2>&1 | tee $(NOTRUN)/qemu.log; exit $${PIPESTATUS[0]}

.PHONY: test-engine
test-engine: ## WAMR behind the core, and TLS of boards (need WAMR_ROOT_DIR, MBEDTLS_ROOT_DIR)
	@mkdir -p $(NOTRUN); $(MAKE) -C firmware/runtime/wamr/test test 2>&1 | tee $(NOTRUN)/wamr.log; exit $${PIPESTATUS[0]}
	@$(MAKE) -C firmware/port/zephyr/test test 2>&1 | tee $(NOTRUN)/tls.log; exit $${PIPESTATUS[0]}

.PHONY: test-firmware
test-firmware: build ## real firmware built and run on QEMU boards (needs ZEPHYR_BASE, WAMR_ROOT_DIR)
	@mkdir -p $(NOTRUN); ./firmware/test 2>&1 | tee $(NOTRUN)/firmware.log; exit $${PIPESTATUS[0]}

.PHONY: test-go
test-go: ## Go packages, race detector on, against a real Redis and a real Kubernetes API
	@mkdir -p $(NOTRUN); go test $(RACE) -json -count=$(COUNT) -timeout 30m $$(go list ./... | grep -v -e '$(HEAVY)' -e '$(AWAY)') | go run ./.ci/told $(NOTRUN)/go.log

.PHONY: test-scenarios
test-scenarios: build ## whole platform: faults, restarts, fleets
	@mkdir -p $(NOTRUN); go test -p 1 -json -count=$(COUNT) -timeout 55m ./cmd/standalone/... | go run ./.ci/told $(NOTRUN)/scenarios.log

.PHONY: test-ui
test-ui: build ## the dashboard in a real browser (CHROMIUM=path), against this platform and a stub of ten thousand devices
	@./webui/app/test.sh

.PHONY: test-cluster
test-cluster: ## the platform on Kubernetes with Knative: KUBECONFIG's cluster, or one on this machine (WASMBED_CLUSTER_TOOL)
	@./.ci/cluster

.PHONY: vectors
vectors: ## the wire's vectors through both codecs
	go test -count=1 -run Vector ./protocol/...
	$(MAKE) -C firmware/tests vectors

.PHONY: fuzz
fuzz: ## every decoder, FUZZTIME (5s) each
	@./.ci/fuzz $(FUZZTIME)

.PHONY: bench
bench: build ## the figures of docs/performance.md
	go run ./cmd/standalone/bench

.PHONY: lint
lint: ## gofmt, go vet, house rules
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go test -count=1 ./internal/layout

.PHONY: generate
generate: ## CRDs, deepcopy, samples, generated docs
	go generate ./...

.PHONY: verify
verify: lint generate ## generated files are current, go.mod is tidy
	go mod tidy -diff
	@git diff --exit-code --stat || { echo "verify: generated files differ from what is committed: commit them"; exit 1; }

.PHONY: modules
modules: ## rebuild the sample modules (needs clang, wasm-ld, node)
	@./.ci/need clang wasm-ld node npm
	$(MAKE) -C firmware/modules

.PHONY: images
images: dashboard ## images of all parts into build/images, with SBOMs; the same sources give the same digests (TAG=, ARCH=, PREFIX=)
	@./deploy/images/build

.PHONY: manifests
manifests: ## what is applied on a cluster, into build/manifests: the base and each place (needs kubectl)
	@./.ci/need kubectl
	@mkdir -p build/manifests
	@for p in config config/first config/authority config/provisioner deploy/k3s deploy/kafka deploy/rabbitmq deploy/redis-cluster; do \
		kubectl kustomize $$p > build/manifests/$$(echo $$p | tr / -).yaml && echo "build/manifests/$$(echo $$p | tr / -).yaml" || exit 1; done
	@go build -o $(BIN)/wasmbed-backup ./deploy/backup

.PHONY: clean
clean: ## remove bin/ and the state of `make run`
	rm -rf $(BIN) .wasmbed
	$(MAKE) -C firmware/tests clean

.PHONY: firmware
firmware: ## BOARD's firmware into build/firmware (TRANSPORT=ethernet|serial; needs ZEPHYR_BASE, WAMR_ROOT_DIR)
	@./firmware/build "$(BOARD)" $(TRANSPORT)

.PHONY: firmware-size
firmware-size: ## build BOARD's firmware; what it takes by part, against its budget (TOP=20: objects too)
	@./firmware/build $(BOARD) $(TRANSPORT)
	@go run ./firmware/size --board "$(BOARD)" --transport "$(TRANSPORT)" --top $(or $(TOP),0) $(if $(JSON),--json)

.PHONY: firmware-all
firmware-all: ## every firmware image that has a budget; what failed is said at the end
	@failed=(); while read -r board transport; do \
		./firmware/build $$board $$transport && go run ./firmware/size --board $$board --transport $$transport \
			|| failed+=("$$board/$$transport"); echo; \
	done < <(go run ./firmware/size --list); \
	for f in "$${failed[@]}"; do echo "firmware: $$f failed or is over budget"; done; [ $${#failed[@]} = 0 ]
