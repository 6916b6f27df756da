# Wasmbed. `make help` lists what there is; README.md says what you then see.
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN       := bin
COMMANDS  := standalone broker device functions gateway webui wasmbed
RACE      := $(if $(filter 0,$(RACE)),,-race)
COUNT     ?= 1
FUZZTIME  ?= 5s
BENCHTIME ?= 3s
# What carries the embedded API server is compiled without the race detector and exercised as a process.
HEAVY     := /cmd/standalone
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

.PHONY: build
build: need-run ## all commands into bin/
	@mkdir -p $(BIN)
	go build -ldflags '$(LDFLAGS)' -o $(BIN)/ $(COMMANDS:%=./cmd/%) ./cmd/standalone/kubeapi
	@ln -sf wasmbed $(BIN)/kubectl-wasmbed

.PHONY: run
run: build ## everything on this machine, with three devices and a sample application
	@exec $(BIN)/standalone

.PHONY: test
test: need-test build test-c test-go fuzz test-scenarios ## all tests

.PHONY: test-c
test-c: ## the device's C core: ASan, UBSan, power and link cut at every step
	$(MAKE) -C firmware/tests test

.PHONY: test-go
test-go: ## Go packages, race detector on, against a real Redis and a real Kubernetes API
	go test $(RACE) -count=$(COUNT) -timeout 25m $$(go list ./... | grep -v '$(HEAVY)')

.PHONY: test-scenarios
test-scenarios: build ## whole platform: faults, restarts, fleets
	go test -p 1 -count=$(COUNT) -timeout 55m ./cmd/standalone/...

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

.PHONY: clean
clean: ## remove bin/ and the state of `make run`
	rm -rf $(BIN) .wasmbed
	$(MAKE) -C firmware/tests clean
