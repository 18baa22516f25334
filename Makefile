# Everything you can do with Headcount on your machine. `make` alone lists it.

PYTHON ?= python3
TOOLS := .venv/bin

export PORT ?= 8787
export GATEWAY_PORT ?= 4566
export KINDS
export ROLL_UPS ?= on
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help run demo token deploy-local docs picture bench-dashboard bench-cost bench-check bench-beat bench-cold-start bench-fanout bench-sizes bench-latency accuracy mutants units load build package release sam-local-image model conformance caught interleavings story soak test-quick test test-exhaustive test-moved check lock audit-dependencies clean dev stack python

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target what; do printf '  %-20s%s\n' "$$target" "$$what"; done

run: stack ## the whole product on http://localhost:8787 (PORT, GATEWAY_PORT, KINDS="page room:lease=60"), until Ctrl-C
	@exec $(TOOLS)/python -m local.run

demo: dev ## simulated visitors for the running stack (ARGS=--help)
	@exec $(TOOLS)/headcount demo $(ARGS)

token: dev ## an admin token for the running stack, or for STACK=name on AWS (ARGS=--help)
	@exec $(TOOLS)/headcount token $(if $(STACK),--stack $(STACK)) $(ARGS)

deploy-local: dev ## rebuild and redeploy onto the running stack
	@exec $(TOOLS)/python -m local.deploy

docs: dev ## the documentation with its search, which `make run` serves at /docs, into .local/docs-site
	@exec $(TOOLS)/python -m local.docs

picture: dev ## the dashboard's screenshots in docs/, from the running stack (ARGS=--help)
	@exec $(TOOLS)/python -m local.picture $(ARGS)

bench-dashboard: dev ## what an update of 1,000 sessions costs the dashboard (needs Chromium)
	@exec $(TOOLS)/python -m local.bench_dashboard $(ARGS)

bench-cost: dev ## what 1,000 viewer-hours cost, by part (ARGS=--write updates docs/cost.md)
	@exec $(TOOLS)/python -m lab.bench.cost $(ARGS)

bench-check: dev ## whether units, calls, bytes, bytecodes and built sizes are no worse than committed
	@exec $(TOOLS)/python -m lab.bench.check $(ARGS)

bench-beat: dev ## a beat's CPU time, compared with a plain Powertools and boto3 handler's
	@exec $(TOOLS)/python -m lab.bench.beat_cpu $(ARGS)

bench-cold-start: dev ## how long the built functions take to start, compared with a plain one
	@exec $(TOOLS)/python -m lab.bench.cold_start $(ARGS)

bench-fanout: dev ## posts to dashboards compared with boto3 in threads, and 10,000 in parallel chunks
	@exec $(TOOLS)/python -m lab.bench.fanout $(ARGS)

bench-sizes: dev ## recount, publish, sweep and daily run at up to 100,000 sessions (ARGS="--million" or --write)
	@exec $(TOOLS)/python -m lab.bench.sizes $(ARGS)

bench-latency: dev ## how late a dashboard shows a join, a change, a leave on AWS, modelled (ARGS=--help)
	@exec $(TOOLS)/python -m lab.bench.latency $(ARGS)

accuracy: dev ## how far a shown count is from the truth, in 2,000 schedules (ARGS=--write makes a page of it)
	@exec $(TOOLS)/python -m lab.accuracy $(ARGS)

mutants: dev ## break every invariant once, and check that a test notices (ARGS: words of names)
	@exec $(TOOLS)/python -m lab.mutants $(ARGS)

units: dev ## what a beat, a join, a leave cost in DynamoDB units (needs Java and npm)
	@exec $(TOOLS)/python -m lab.units

load: dev ## how many beats one core handles, and the running stack if there is one (ARGS=--help)
	@exec $(TOOLS)/python -m lab.load $(ARGS)

build: dev ## build for AWS, ready for `sam deploy`
	@exec $(TOOLS)/python -m local.build $(ARGS)

package: dev ## the npm package headcount-live, into dist/
	@exec $(TOOLS)/python -m local.package

release: build ## a versioned folder in dist/ that deploys without building, also from CDK
	@exec $(TOOLS)/python -m local.release

sam-local-image: dev ## the image that `sam local` runs functions in, or a stand-in if no registry is reachable
	@exec $(TOOLS)/python -m local.lambda_image

model: dev ## every state of a model of the pipeline, and whether it misses a mistake (ARGS=--small)
	@exec $(TOOLS)/python -m lab.model $(ARGS)

conformance: dev ## whether the model accepts what the real code does, and refuses mutations (ARGS=--traces)
	@exec $(TOOLS)/python -m lab.model.conformance $(ARGS)

caught: dev ## a table of what notices which mutation: tests, interleavings, conformance, model (ARGS: words of names)
	@exec $(TOOLS)/python -m lab.caught $(ARGS)

interleavings: dev ## every order of AWS calls of the real handlers in small scenes (ARGS: words of names)
	@exec $(TOOLS)/python -m lab.interleavings $(ARGS)

soak: dev ## fault schedules and fuzzed inputs for SECONDS=60, or one schedule again with SEED=number
	@exec $(TOOLS)/python -m lab.simulator.soak $(if $(SEED),--seed $(SEED),--seconds $(or $(SECONDS),60)) $(ARGS)

story: dev ## what happened with SEED=number of the soak, as a page in dist/
	@exec $(TOOLS)/python -m lab.simulator.story --seed $(or $(SEED),1) $(ARGS)

test-quick: dev ## the tests in one process: no stack, no Java, no browser (ARGS go to pytest)
	@exec $(TOOLS)/python -m pytest -n $(WORKERS) -m "not (stack or dynamodb_local or slow or exhaustive)" $(ARGS)

test: stack ## the tests for every change, with the stack's, in parallel workers (WORKERS=0: in one process)
	@exec $(TOOLS)/python -m pytest -n $(WORKERS) -m "not exhaustive" $(ARGS)

test-exhaustive: stack ## the rest: containers, frameworks, all pages, thousands of schedules (needs Docker)
	@exec $(TOOLS)/python -m pytest -n $(WORKERS) -m exhaustive $(ARGS)

test-moved: stack ## the same on another day: DAYS=400, or from AT=2028-02-28T23:59:30Z on
	@exec $(TOOLS)/python -m local.clock $(if $(AT),--at $(AT),--days $(or $(DAYS),400)) -- $(TOOLS)/python -m pytest -n $(WORKERS) $(ARGS)

check: dev ## lint, formatting, types, template
	@$(TOOLS)/ruff check .
	@$(TOOLS)/ruff format --check .
	@$(TOOLS)/mypy
	@SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 $(TOOLS)/sam validate --lint --template-file template.yaml

lock: dev ## compile local/locks/*.in again
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/dev.in -o local/locks/dev.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/emulator.in -o local/locks/emulator.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/lambda_image.in -o local/locks/lambda_image.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/policies.in -o local/locks/policies.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade local/locks/docs.in -o local/locks/docs.txt
	@.local/uv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade layers/dependencies/requirements.in -o layers/dependencies/requirements.txt

audit-dependencies: dev ## check all locked packages for known vulnerabilities, with osv.dev
	@exec $(TOOLS)/python -m local.advisories

clean: ## remove everything built or installed
	@rm -rf .venv .local .aws-sam dist functions/site/built .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) >/dev/null || { echo "Headcount needs Python 3.11 or newer, and there is no $(PYTHON) here: install it, or name another one, as in 'make run PYTHON=python3.13'." >&2; exit 1; }

dev: python
	@exec $(PYTHON) -m local.bootstrap dev

stack: python
	@exec $(PYTHON) -m local.bootstrap dev emulator
