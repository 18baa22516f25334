# Everything one does with Headcount on one's own machine. `make` alone lists it.

PYTHON ?= python3
TOOLS := .venv/bin

export PORT ?= 8787
export GATEWAY_PORT ?= 4566
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run demo token deploy-local picture bench-dashboard units build test check lock clean dev stack python

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target what; do printf '  %-18s%s\n' "$$target" "$$what"; done

run: stack ## the whole product on http://localhost:8787 (PORT, GATEWAY_PORT), until Ctrl-C
	@exec $(TOOLS)/python -m local.run

demo: dev ## make-believe visitors for the running stack (ARGS=--help)
	@exec $(TOOLS)/python -m local.demo $(ARGS)

token: dev ## an admin token for the running stack, or for STACK=name on AWS (ARGS=--help)
	@exec $(TOOLS)/python -m local.admin_token $(if $(STACK),--stack $(STACK)) $(ARGS)

deploy-local: dev ## rebuild and redeploy onto the running stack
	@exec $(TOOLS)/python -m local.deploy

picture: dev ## the pictures of the dashboard in docs/, from the running stack (ARGS=--help)
	@exec $(TOOLS)/python -m local.picture $(ARGS)

bench-dashboard: dev ## what an update of 1,000 sessions costs the dashboard (needs Chromium)
	@exec $(TOOLS)/python -m local.bench_dashboard $(ARGS)

units: dev ## what a beat, a join, a leave cost in DynamoDB units (needs Java and npm)
	@exec $(TOOLS)/python -m tests.units_table

build: dev ## build for AWS, ready for `sam deploy`
	@exec $(TOOLS)/python -m local.build $(ARGS)

test: stack ## run every test, the stack's beside the others (ARGS go to pytest, WORKERS=0 runs them in one process)
	@exec $(TOOLS)/python -m pytest -n $(WORKERS) $(ARGS)

check: dev ## lint, formatting, types, template
	@$(TOOLS)/ruff check .
	@$(TOOLS)/ruff format --check .
	@$(TOOLS)/mypy
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/sam validate --lint --template-file template.yaml

lock: dev ## pin again what local/locks/*.in ask for
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --upgrade local/locks/dev.in -o local/locks/dev.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --upgrade local/locks/emulator.in -o local/locks/emulator.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --upgrade layers/dependencies/requirements.in -o layers/dependencies/requirements.txt

clean: ## remove all that was built or installed
	@rm -rf .venv .local .aws-sam functions/site/built .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) >/dev/null || { echo "Headcount needs Python 3.11 or newer, and there is no $(PYTHON) here: install one, or name it, as in 'make run PYTHON=python3.13'." >&2; exit 1; }

dev: python
	@exec $(PYTHON) -m local.bootstrap dev

stack: python
	@exec $(PYTHON) -m local.bootstrap dev emulator
