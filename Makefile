# The commands of everyday work. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
BRANCH   := $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null)
BUILT    := $(shell date -u +%Y-%m-%dT%H:%M:%SZ)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.revision=$(REVISION) -X main.branch=$(BRANCH) -X main.buildDate=$(BUILT)

FUZZTIME  ?= 10s
BENCH     ?= .
BENCHTIME ?= 1s
DB        ?= sqlite
DEVICES   ?= 2000

## build: build the program into bin/muster
.PHONY: build
build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/muster ./cmd/muster

## demo: run a server with a simulated fleet; needs no Apple account
.PHONY: demo
demo: build
	bin/muster demo

## run: run the server on its embedded database in ./data
.PHONY: run
run: build
	bin/muster serve

## test: run every check and test; installs and starts the databases it needs
.PHONY: test
test:
	scripts/test.sh

## lint: run the linters
.PHONY: lint
lint:
	scripts/lint.sh run ./...

## fmt: format the code
.PHONY: fmt
fmt:
	scripts/lint.sh fmt ./...

## generate: write the OpenAPI document and the README's table of settings again
.PHONY: generate
generate:
	go generate ./...

## bench: run the benchmarks (BENCH=pattern, BENCHTIME=1s)
.PHONY: bench
bench:
	scripts/bench.sh '$(BENCH)' $(BENCHTIME)

## load: measure a server of its own under load (DB=sqlite|postgres|mysql, DEVICES=2000)
.PHONY: load
load:
	scripts/bench-server.sh $(DB) $(DEVICES)

## fuzz: run every fuzz test for a short time (FUZZTIME=10s each)
.PHONY: fuzz
fuzz:
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' internal sim client); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "== $$name in $$(dirname $$file)"; \
			go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./$$(dirname $$file); \
		done; \
	done

## clean: remove what was built
.PHONY: clean
clean:
	rm -rf bin .tools coverage*

## help: list these commands
.PHONY: help
help:
	@sed -n 's/^## //p' Makefile | awk -F': ' '{printf "  make %-9s %s\n", $$1, $$2}'
