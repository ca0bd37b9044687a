# The commands of this project. Each sets up what it needs; `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help demo test compat lint format bundle bench fuzz setup pins clean

# Extra words for a command: make test ARGS="-k bundle", make demo ARGS=--once
ARGS ?=
# The Python that .venv is made from; found by itself when it is not given.
PYTHON ?=
RUN := .venv/bin/python
CODE := $(wildcard src scripts tests benchmarks)

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Chat through the pipe in a real Open WebUI (PORT=8080; OPENROUTER_API_KEY for the real OpenRouter)
	@exec $(RUN) scripts/demo.py $(ARGS)

test: setup ## Run the tests (ARGS="-k bundle")
	$(RUN) -m pytest $(ARGS)

compat: setup ## Run the tests of the host on other versions of Open WebUI (ARGS="0.11.1 newest")
	$(RUN) scripts/compat.py $(ARGS)

lint: setup ## Check style and types, and that what is built is current
	$(RUN) -m ruff check $(CODE)
	$(RUN) -m ruff format --check $(CODE)
	$(RUN) -m mypy
	$(RUN) scripts/bundle.py --check
	$(RUN) scripts/error_page.py --check

format: setup ## Format the code, and fix what can be fixed by itself
	$(RUN) -m ruff check --fix $(CODE)
	$(RUN) -m ruff format $(CODE)

bundle: setup ## Build openrouter_pipe.py from src/openrouter_pipe/
	$(RUN) scripts/bundle.py

bench: setup ## Measure speed and memory (ARGS for the benchmark)
	$(RUN) benchmarks/run.py $(ARGS)

fuzz: setup ## Throw random input at the parsers (ARGS="errors --seconds 60", --seed N)
	PYTHONPATH=src $(RUN) scripts/fuzz.py $(ARGS)

setup: ## Create or update .venv (PYTHON=/path/to/python3.12)
	@python="$(PYTHON)"; \
	for candidate in python3.12 python3.11 python3 python; do \
	    [ -z "$$python" ] || break; \
	    $$candidate -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	        2>/dev/null && python=$$candidate; \
	done; \
	exec "$${python:-python3}" scripts/setup_env.py

pins: setup ## Resolve requirements-dev.txt anew
	$(RUN) scripts/setup_env.py pins

clean: ## Remove .venv, the demo's data, and all caches
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
