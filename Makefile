# Basin: set-up, the local stack, and the checks. `make help` lists the targets with a ## comment.
#
# Needs Python >= 3.11 (with its venv module), git and make; everything else comes into this folder. Each step leaves a
# stamp file beside what it made, so nothing is done twice. Package indexes are those of your environment (PIP_*, UV_*,
# npm's configuration).

VENV := .venv
BIN := $(VENV)/bin
NODE := .node
STAMP_PYTHON := $(VENV)/.stamp-python
STAMP_BASIN := $(VENV)/.stamp-basin
STAMP_NODE := $(NODE)/.stamp
STAMP_MODULES := frontend/node_modules/.stamp
STAMP_DASHBOARD := frontend/dist/.stamp
FRONTEND_SOURCES := $(shell find frontend/src frontend/public frontend/index.html frontend/tsconfig.json \
	frontend/vite.config.ts frontend/contract-plugin.ts api/openapi.json trainer/contract/model_names.txt \
	-type f 2>/dev/null)
# The folders of tests with single services, and the tests with a stack of their own, on a small disk.
SERVICES := $(filter-out %/stack/ %/faults/,$(sort $(dir $(wildcard tests/integration/*/test_*.py))))
EACH_KIND := tests/integration/faults/test_each_kind.py
# Node from the wheel, if that is where it is, comes before the system's.
NPM := PATH="$(CURDIR)/$(NODE)/bin:$$PATH" npm --prefix frontend

# uv reads its own variables; where only pip's are set, it shall look in the same places.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo up test faults check screenshots generate lock \
	deploy-init deploy-token deploy-upgrade test-deploy \
	test-units-and-services test-stacks check-format check-lint check-types check-imports check-unit check-frontend

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP_BASIN) $(STAMP_DASHBOARD) ## Make .venv, get Node if needed, build the dashboard. Repeating it costs nothing.

demo: setup ## Let AdamW, SAM, LookSAM and Look-LayerSAM race; show a table and the comparison. DEMO_EXIT=1 ends after the table.
	@$(BIN)/python -m cli.demo

up: setup ## Run the local stack until Ctrl-C. State in BASIN_HOME (default .basin/).
	@exec $(BIN)/basin up

test: setup ## Run every test: dashboard, units, house rules, real services, stories in a browser.
	@$(NPM) run --silent test
	@$(MAKE) --no-print-directory -j2 test-units-and-services test-stacks

# Two at a time, one for each core of a small machine: more would wait for each other longer than a test waits. What
# runs beside the first is shown when it is over. Each part is a session of its own, since the servers of a session live
# to its end, and idle ones take a core from the others.
in_turn = status=0; for part in $(1); do $(BIN)/pytest --durations=10 -p no:cacheprovider $$part || status=$$?; done; exit $$status
test-units-and-services:
	@$(call in_turn,"tests/unit tests/architecture" $(SERVICES))
test-stacks:
	@mkdir -p build
	@($(call in_turn,"tests/integration/stack tests/integration/faults --ignore=$(EACH_KIND)" $(EACH_KIND) tests/e2e)) \
		> build/test-stacks.txt 2>&1; status=$$?; cat build/test-stacks.txt; exit $$status

faults: setup ## Play 60 runs under faults of twelve kinds (45 minutes at most; the same command goes on). FAULTS=N for more.
	@$(BIN)/python -m tests.integration.faults --faults $(or $(FAULTS),60)

check: setup ## Format, lint, types, imports, unit tests, dashboard: about a minute.
	@$(MAKE) --no-print-directory -j2 --output-sync=target \
		check-types check-unit check-frontend check-format check-lint check-imports

check-format:
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted: run $(BIN)/ruff format ."; exit 1; }
check-lint:
	@$(BIN)/ruff check --quiet .
check-types:
	@$(BIN)/mypy
check-imports:
	@$(BIN)/lint-imports
check-unit:
	@$(BIN)/pytest -q tests/unit tests/architecture
check-frontend:
	@$(NPM) run --silent check

# The host of a deployment has Docker and some Python 3; nothing is set up there.
deploy-init: ## On a GPU host: write .env with fresh secrets. COMPOSE_PROFILES=cpu,tls and any BASIN_ variable are taken over.
	@python3 -m docker.init

deploy-token: ## On a GPU host: print a new token, once. TOKEN_USER=ada TOKEN_ROLE=member (default: an admin's).
	@docker compose run --rm -T admin python -m api.runs.tokens issue \
		--user $(or $(TOKEN_USER),admin) --role $(or $(TOKEN_ROLE),admin)

deploy-upgrade: ## On a GPU host: back up, build (PULL=1: pull), migrate, check; back to the old version if that fails.
	@python3 -m docker.upgrade

test-deploy: setup ## Test the deployment on a Docker engine, with images made from Debian's packages (an hour, 40 GB).
	@$(BIN)/pytest --durations=10 -p no:cacheprovider -s tests/deploy

screenshots: setup ## Photograph every page in both themes into docs/screenshots/ (needs Chromium; minutes).
	@$(BIN)/python -m tests.e2e.screenshots

generate: $(STAMP_BASIN) $(STAMP_MODULES) ## Write the generated files: model names, OpenAPI, spec reference, the dashboard's API types.
	@mkdir -p build
	$(BIN)/python -c "import timm; print('\n'.join(timm.list_models()))" > build/model_names.txt
	mv build/model_names.txt trainer/contract/model_names.txt
	$(BIN)/python -m api.openapi
	$(BIN)/python -m cli.spec_reference
	$(NPM) run --silent generate

# What an image installs: a part of dev.lock, in the same versions.
lock_of = $(BIN)/uv pip compile $(1) --constraints requirements/dev.lock --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements/$(2).lock

lock: $(STAMP_PYTHON) ## Choose all versions anew from pyproject.toml and write the lock files.
	$(BIN)/uv pip compile pyproject.toml requirements/overrides.in --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements/dev.lock
	$(BIN)/uv pip compile requirements/node.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements/node.lock
	$(call lock_of,pyproject.toml --extra control --extra tracing,control)
	$(call lock_of,pyproject.toml --extra control --extra trainer --extra tracing,trainer)
	$(call lock_of,requirements/build.in,build)

# ---- Python ----------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		$$python -c 'import ensurepip, venv' 2>/dev/null || \
			{ echo "Basin needs the venv module of $$python: install it (on Debian: apt install python3-venv)." >&2; exit 1; }; \
		echo "Making $(VENV) with $$python"; \
		exec $$python -m venv $(VENV); \
	done; \
	echo "Basin needs Python 3.11 or newer, and none was found: install it, or say make PYTHON=/path/to/python." >&2; exit 1

# uv is pinned where everything else is, in the lock file; where it does not come, pip does the same, slower. Compiled
# at once, because imports are otherwise slow where nobody writes bytecode.
$(STAMP_PYTHON): requirements/dev.lock | $(BIN)/python
	@echo "Installing Python packages into $(VENV) (several GB at the first time)"
	@awk '/^uv==/ {found=1; print; next} found && /^ / {print; next} {found=0}' requirements/dev.lock > $(VENV)/uv.lock
	@{ $(BIN)/python -m pip install --quiet --require-hashes -r $(VENV)/uv.lock && \
		VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements/dev.lock; } || \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	@touch $@

$(STAMP_BASIN): pyproject.toml $(STAMP_PYTHON)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# ---- Dashboard -------------------------------------------------------------------------------------------------------

# A folder of our own only where the system has no Node >= 22.12.
$(STAMP_NODE): requirements/node.lock | $(BIN)/python
	@if node -e 'const [a, b] = process.versions.node.split("."); process.exit(a * 100 + +b >= 2212 ? 0 : 1)' 2>/dev/null \
		&& npm --version >/dev/null 2>&1; then mkdir -p $(NODE); else \
		echo "Getting Node from its wheel, since there is none >= 22.12"; \
		$(BIN)/python -m venv $(NODE) && \
		$(NODE)/bin/python -m pip install --quiet --require-hashes -r requirements/node.lock; fi
	@touch $@

# `npm ci` refuses a lock file that lacks the binaries of other platforms, which not every registry has; `npm install`
# takes the same versions with the same hashes from it.
$(STAMP_MODULES): frontend/package-lock.json frontend/package.json $(STAMP_NODE)
	@echo "Installing the dashboard's packages"
	@$(NPM) ci --silent --no-audit --no-fund 2>/dev/null || $(NPM) install --silent --no-save --no-audit --no-fund
	@touch $@

$(STAMP_DASHBOARD): $(STAMP_MODULES) $(FRONTEND_SOURCES)
	@echo "Building the dashboard"
	@$(NPM) run --silent build
	@touch $@
