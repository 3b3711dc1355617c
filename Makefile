# Each target makes .venv first when it is missing or older than the requirements.
PYTHON := .venv/bin/python
RUNNABLE := .venv/.runnable
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install run test lint types spec bundle docs fresh check fuzz soak overload audit sbom screenshots bench requirements image image-archive container-test clients clients-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with everything in it, and nothing elsewhere

# What serving needs; the rest takes longer to fetch.
$(RUNNABLE): requirements.txt
	@echo "Making .venv; this takes a minute or so, once" >&2
	@sh tools/venv.sh
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(INSTALLED): $(RUNNABLE) requirements-dev.txt
	@echo "Adding to .venv what tests and checks need; this takes a minute or more, once" >&2
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

run: $(RUNNABLE) ## serve with the sandbox as upstream: no key, no cost (HOST, PORT)
	@$(PYTHON) -m tools.demo

test: $(INSTALLED) ## run the tests
	$(PYTHON) -m pytest

lint: $(INSTALLED) ## check style and format
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check

types: $(INSTALLED) ## check the types
	$(PYTHON) -m mypy

spec: $(INSTALLED) ## lint both specs
	$(PYTHON) -m tools.lint_spec
	$(PYTHON) -m tools.spec_linters

bundle: $(INSTALLED) ## join the specs' files into openapi/dist
	$(PYTHON) -m tools.bundle

docs: $(INSTALLED) ## write the generated parts of the docs
	$(PYTHON) -m tools.settings_page
	$(PYTHON) -m tools.metrics_page
	$(PYTHON) -m tools.dashboards
	$(PYTHON) -m tools.coverage_page
	$(PYTHON) -m tools.reliability_page

fresh: $(INSTALLED) ## check that everything generated is up to date
	$(PYTHON) -m tools.bundle --check
	$(PYTHON) -m tools.settings_page --check
	$(PYTHON) -m tools.metrics_page --check
	$(PYTHON) -m tools.dashboards --check
	$(PYTHON) -m tools.coverage_page --check
	$(PYTHON) -m tools.reliability_page --check

check: lint types spec fresh ## all checks that need no server

fuzz: $(INSTALLED) ## attack a running server with generated requests (LONG=1 for many more)
	$(PYTHON) -m pytest -m fuzz

audit: $(INSTALLED) ## look the pinned packages up among the known vulnerabilities
	$(PYTHON) -m tools.audit

sbom: $(INSTALLED) ## write a bill of materials (CycloneDX) to dist/
	@$(PYTHON) -m tools.sbom

screenshots: $(INSTALLED) ## take the pictures of the docs anew (needs Chromium)
	SCREENSHOTS=docs/images $(PYTHON) -m pytest tests/browser/test_screenshots.py

SOAK_SECONDS ?= 600
soak: $(INSTALLED) ## mixed load while nothing may grow (SOAK_SECONDS, 600)
	$(PYTHON) -m bench.soak --seconds $(SOAK_SECONDS)

overload: $(INSTALLED) ## ten times as many callers as there is room for
	$(PYTHON) -m bench.overload

bench: $(INSTALLED) ## measure beside nginx (needs nginx and wrk)
	$(PYTHON) -m bench

COMPILE = $(PYTHON) -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" pyproject.toml
requirements: $(INSTALLED) ## pin the dependencies of pyproject.toml anew (UPGRADE=--upgrade for newer ones)
	$(COMPILE) $(UPGRADE) -o requirements.txt
	$(COMPILE) $(UPGRADE) --extra dev -c requirements.txt -o requirements-dev.txt

IMAGE = anthropic-gateway:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image: ## build the container image (PLATFORM=linux/arm64, BASE_IMAGE=...)
	docker build $(if $(PLATFORM),--platform $(PLATFORM)) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
		-t $(IMAGE) .

image-archive: image ## save the image to dist/ as a file that another machine can import
	@mkdir -p dist
	@file="dist/$(subst :,-,$(IMAGE))-$$(docker image inspect -f '{{.Architecture}}' $(IMAGE)).tar"; \
	docker save -o "$$file" $(IMAGE) && echo "$$file"

container-test: $(INSTALLED) ## build the image, start it by Compose and test it (needs Docker)
	$(PYTHON) -m pytest -m container

clients: $(INSTALLED) ## generate clients of the envelope in Python, TypeScript and Go (needs npm)
	@$(PYTHON) -m tools.clients

clients-test: $(INSTALLED) ## generate them anew and let each live through the same story (needs npm)
	$(PYTHON) -m pytest -m clients

clean: ## remove .venv, caches, clients and the data of make run
	rm -rf .venv clients .cache .run .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
