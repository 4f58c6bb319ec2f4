# Needs Go and make; everything else is fetched or built by what is called here.
# The logic is in test/verify (go run ./test/verify help), not in this file.

GO      ?= go
BIN     := bin/postroad
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
VERIFY  := $(GO) run ./test/verify
# Passed on: make dev ARGS='--data /tmp/p', make proof ARGS='-run Kill'.
ARGS    ?=

.DEFAULT_GOAL := help
.PHONY: help dev build test bench proof test-cluster fmt generate chart render image clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

dev: build ## build and run everything in one process; ARGS are its flags
	@exec $(BIN) dev $(ARGS)

build: ## build bin/postroad, static
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/postroad

test: ## formatting, vet, linters, import rules, generated files, all tests with the race detector
	@$(VERIFY) test $(ARGS)

bench: build ## benchmarks that a quarter of an hour is enough for
	@$(GO) test -C bench/peers .
	@CGO_ENABLED=0 $(GO) build -C bench/peers -trimpath -o ../../bin/peers .
	@$(VERIFY) bench $(ARGS)
	@$(BIN) bench ingest --peers bin/peers
	@$(BIN) bench drain --peers bin/peers
	@$(BIN) bench backlog
	@$(BIN) bench stream --peers bin/peers --rounds 1 --duration 5s
	@$(BIN) bench door --only posts,gets --rounds 2

proof: ## what takes longer: fuzzing, long kill and fault runs; -list shows the stages
	@$(VERIFY) proof $(ARGS)

test-cluster: ## two stamps on a real Kubernetes, made on this machine by root; part of proof
	@$(GO) test -tags proof -count 1 -v -timeout 100m -run '^TestProofCluster$$' $(ARGS) ./test/cluster

fmt: ## format all Go code
	@$(VERIFY) tool gofumpt -w .

generate: ## bring generated files up to date
	@$(GO) generate ./...

chart: ## write what is made of the chart: schema of values, README
	@$(GO) test ./test/chart -run '^TestValuesSchema$$' -count 1 -update
	@$(GO) test ./test/chart -run '^TestReadme$$' -count 1 -update

render: ## write deploy/rendered/STAMP by the chart as it is now; of all stamps without STAMP=
	@$(GO) test ./test/chart -run '^TestRendered$$' -count 1 -update -stamp '$(STAMP)'

image: ## build the image for amd64 and arm64 into bin/image; IMAGE_REPOSITORY= pushes
	@VERSION='$(VERSION)' VERIFY='$(VERIFY)' bash deploy/images/build

clean: ## remove what was built
	@rm -rf bin
