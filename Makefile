# `make run` and `make test` do all the set-up themselves; `make help` lists the rest.
SHELL := /bin/sh
.DEFAULT_GOAL := help

TOOLS := $(CURDIR)/.tools
GOLANGCI_LINT := $(TOOLS)/golangci-lint-v2.15.0
SQLC := $(TOOLS)/sqlc-v1.31.1
BUF := $(TOOLS)/buf-v1.75.0
PROTOC_GEN_GO := $(TOOLS)/protoc-gen-go-v1.36.11
PROTOC_GEN_GO_GRPC := $(TOOLS)/protoc-gen-go-grpc-v1.6.0

export GOTOOLCHAIN := local

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools-check:
	@sh scripts/check-tools.sh

test-tools-check:
	@sh scripts/check-tools.sh test

build: tools-check ## build bin/caracal
	@mkdir -p bin && go build -trimpath -o bin/caracal ./cmd/caracal

run: tools-check ## start all of Caracal on this machine, play the main job, stay up until Ctrl-C
	@echo "building bin/caracal (the first time takes a few minutes)"
	@$(MAKE) --no-print-directory build
	@exec bin/caracal dev

clean-data: build ## remove what `make run` keeps: database, keys, logs
	@bin/caracal dev --clean-data

test: test-tools-check ## every promise once, on the real Envoy and PostgreSQL
	@$(MAKE) --no-print-directory build
	go vet ./...
	go test -timeout 15m ./...
	sh scripts/test-sdk.sh

test-sdk: build ## the Python SDK alone, on the oldest and the newest Python of this machine
	sh scripts/test-sdk.sh

test-deep: test ## the long ones: the race detector, fuzzing, many seeds
	sh scripts/test-deep.sh

check: $(GOLANGCI_LINT) $(SQLC) ## formatting, lint, generated code
	@test -z "$$(gofmt -l authority token bundle catalog learn rego envoy extauthz gateway controlplane provision dev client cmd internal e2e migrations)" || { gofmt -l .; echo "run gofmt -w on these"; exit 1; }
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...
	$(SQLC) diff

generate: $(SQLC) $(BUF) $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) ## generate code from SQL and protobuf, and the references in docs/
	$(SQLC) generate
	ln -sf $(PROTOC_GEN_GO) $(TOOLS)/protoc-gen-go && ln -sf $(PROTOC_GEN_GO_GRPC) $(TOOLS)/protoc-gen-go-grpc
	PATH="$(TOOLS):$$PATH" $(BUF) generate
	go generate ./...
	"$$(sh scripts/sdk-environment.sh newest)/bin/python" sdk/python/generate

# install PACKAGE@VERSION under a name that carries the version, so that a new pin is a new tool.
define install
	@mkdir -p $(TOOLS)/.new && GOBIN=$(TOOLS)/.new go install $(1) && mv $(TOOLS)/.new/$(2) $@ && echo "installed $(1)"
endef

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0,golangci-lint)
$(SQLC):
	$(call install,github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1,sqlc)
$(BUF):
	$(call install,github.com/bufbuild/buf/cmd/buf@v1.75.0,buf)
$(PROTOC_GEN_GO):
	$(call install,google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11,protoc-gen-go)
$(PROTOC_GEN_GO_GRPC):
	$(call install,google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0,protoc-gen-go-grpc)

.PHONY: help tools-check test-tools-check build run clean-data test test-sdk test-deep check generate
