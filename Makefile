# Everything one does with Headcount on one's own machine. `make` alone lists it.

PYTHON ?= python3
TOOLS := .venv/bin

export PORT ?= 8787
export GATEWAY_PORT ?= 4566
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run demo token deploy-local picture bench-dashboard bench-cost bench-check bench-beat bench-cold-start bench-fanout bench-sizes mutants units load build sam-local-image soak test check lock audit-dependencies clean dev stack python

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target what; do printf '  %-20s%s\n' "$$target" "$$what"; done

run: stack ## the whole product on http://localhost:8787 (PORT, GATEWAY_PORT), until Ctrl-C
	@exec $(TOOLS)/python -m local.run

demo: dev ## make-believe visitors for the running stack (ARGS=--help)
	@exec $(TOOLS)/headcount demo $(ARGS)

token: dev ## an admin token for the running stack, or for STACK=name on AWS (ARGS=--help)
	@exec $(TOOLS)/headcount token $(if $(STACK),--stack $(STACK)) $(ARGS)

deploy-local: dev ## rebuild and redeploy onto the running stack
	@exec $(TOOLS)/python -m local.deploy

picture: dev ## the pictures of the dashboard in docs/, from the running stack (ARGS=--help)
	@exec $(TOOLS)/python -m local.picture $(ARGS)

bench-dashboard: dev ## what an update of 1,000 sessions costs the dashboard (needs Chromium)
	@exec $(TOOLS)/python -m local.bench_dashboard $(ARGS)

bench-cost: dev ## what 1,000 viewer-hours cost, by part (needs Java and npm; ARGS=--write renews docs/cost.md)
	@exec $(TOOLS)/python -m tests.bench.cost $(ARGS)

bench-check: dev ## whether units, calls, bytes, bytecodes and built sizes are still as good as committed
	@exec $(TOOLS)/python -m tests.bench.check $(ARGS)

bench-beat: dev ## a beat's CPU beside a plain Powertools and boto3 handler's
	@exec $(TOOLS)/python -m tests.bench.beat_cpu $(ARGS)

bench-cold-start: dev ## how long the built functions take to start, beside a plain one
	@exec $(TOOLS)/python -m tests.bench.cold_start $(ARGS)

bench-fanout: dev ## posts to dashboards beside boto3 in threads, and 10,000 in parallel chunks
	@exec $(TOOLS)/python -m tests.bench.fanout $(ARGS)

bench-sizes: dev ## recount, publish, sweep and a day at up to 100,000 sessions (ARGS="--million" or --write)
	@exec $(TOOLS)/python -m tests.bench.sizes $(ARGS)

mutants: dev ## break every invariant once, and see that a test notices (ARGS: words of names)
	@exec $(TOOLS)/python -m tests.mutants $(ARGS)

units: dev ## what a beat, a join, a leave cost in DynamoDB units (needs Java and npm)
	@exec $(TOOLS)/python -m tests.units_table

load: dev ## what one core carries, and the running stack if there is one (ARGS=--help)
	@exec $(TOOLS)/python -m tests.load $(ARGS)

build: dev ## build for AWS, ready for `sam deploy`
	@exec $(TOOLS)/python -m local.build $(ARGS)

sam-local-image: dev ## the image that `sam local` runs functions in, or a stand-in where no registry is reached
	@exec $(TOOLS)/python -m local.lambda_image

soak: dev ## fault schedules and fuzzed inputs for SECONDS=60, or SEED=number once more, with its trace
	@exec $(TOOLS)/python -m tests.simulator.soak $(if $(SEED),--seed $(SEED),--seconds $(or $(SECONDS),60)) $(ARGS)

test: stack ## run every test, the stack's beside the others (ARGS go to pytest, WORKERS=0 runs them in one process)
	@exec $(TOOLS)/python -m pytest -n $(WORKERS) $(ARGS)

check: dev ## lint, formatting, types, template
	@$(TOOLS)/ruff check .
	@$(TOOLS)/ruff format --check .
	@$(TOOLS)/mypy
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/sam validate --lint --template-file template.yaml

lock: dev ## pin again what local/locks/*.in ask for
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/dev.in -o local/locks/dev.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/emulator.in -o local/locks/emulator.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/lambda_image.in -o local/locks/lambda_image.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade layers/dependencies/requirements.in -o layers/dependencies/requirements.txt

audit-dependencies: dev ## ask osv.dev for known vulnerabilities of all that is locked
	@exec $(TOOLS)/python -m local.advisories

clean: ## remove all that was built or installed
	@rm -rf .venv .local .aws-sam functions/site/built .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) >/dev/null || { echo "Headcount needs Python 3.11 or newer, and there is no $(PYTHON) here: install one, or name it, as in 'make run PYTHON=python3.13'." >&2; exit 1; }

dev: python
	@exec $(PYTHON) -m local.bootstrap dev

stack: python
	@exec $(PYTHON) -m local.bootstrap dev emulator
