# Every target does its own set-up; the second run starts in seconds.
# Node 24 comes from the npm package `node` in node_modules, whatever Node the machine has.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/node_modules/.bin:/usr/local/go/bin:$(PATH)

NODES ?= 6
ZONES ?= 2
NAME ?=
ARGS ?=

.PHONY: help setup demo test verify cluster install bench clean modules

help: ## Show this list
	@echo "make <target>:"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: modules ## Install and build all that the other targets need (they do it themselves, too)
	@node e2e/cluster/setup.ts

demo: modules ## Bring up a cluster of 6 nodes, put a file on all of them within the origin's limits, check and clean up
	@node e2e/demo/demo.ts

test: modules ## Run all tests: verify, unit, integration, cluster and end to end
	@node scripts/test.ts

verify: modules ## Format, types, lint, import rules, generated files, chart and unit tests, in a minute or two
	@node scripts/verify.ts

cluster: modules ## Bring up a test cluster and leave it running; NODES=6 ZONES=2
	@node e2e/cluster/up.ts --nodes $(NODES) --zones $(ZONES)

install: modules ## Install Sluice with Helm into the cluster that KUBECONFIG names; REGISTRY=host/path pushes the images, ARGS are Helm's
	@node scripts/install.ts $(ARGS)

bench: modules ## Repeat a benchmark: NAME=<file in bench/ without .ts> ARGS=<its arguments>
	@NAME='$(NAME)'; if [ -z "$$NAME" ] || [ ! -f "bench/$$NAME.ts" ]; then \
	  echo "bench: NAME= must be one of: $$(cd bench && ls *.ts 2>/dev/null | sed 's/\.ts$$//' | tr '\n' ' ')" >&2; exit 2; fi; \
	node "bench/$$NAME.ts" $(ARGS)

clean: ## Remove what was installed or built in this checkout and end a cluster that `make cluster` left
	@if [ -x node_modules/.bin/node ] && [ -f e2e/cluster/down.ts ]; then node e2e/cluster/down.ts; fi
	@rm -rf node_modules */node_modules coverage e2e/results

modules:
	@scripts/install-modules.sh
