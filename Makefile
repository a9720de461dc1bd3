# Everything is done in environments of this folder, made from the pinned lists in requirements/ when they are missing
# or out of date: .venv (modern) and .venv-classic. PYTHON=..., PYTHON_CLASSIC=... name the Pythons to make them from;
# MEA_NO_UV=1 installs with plain pip.

PYTHON ?=
PYTHON_CLASSIC ?=
# Processes that run tests, each on one thread, and further arguments for pytest: make test WORKERS=8 ARGS='-k losses'
WORKERS ?= 2
ARGS ?=
# Which extras `make test-extras` tests; all by default.
EXTRAS ?=

MODERN = .venv/bin/python
CLASSIC = .venv-classic/bin/python
# A process runs whole files, for they share fixtures; tests/conftest.py sends the long ones first.
PYTEST = -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
CHECKED = mea_plugin tools tests requirements setup.py

.DEFAULT_GOAL := help
.PHONY: help demo demo-style demo-api study test test-fast test-classic test-extras docs-tables lint chaos fuzz bench chromium lock clean distclean env \
	env-dev env-classic

help:  ## Show this list
	@echo 'make TARGET, where TARGET is one of:'
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done

demo: env  ## Extract the embedded model twice, baseline and proposed; ends with a table and a report
	@$(MODERN) tools/extract.py -opt options/extract/demo_x4.yml
	@$(MODERN) tools/report.py results/demo_x4 --output results/demo_x4/report.html

demo-style: env  ## Extract an OpenCV style with pix2pix, baseline and proposed; ends with a table and a report
	@$(MODERN) -W ignore tools/extract.py -opt options/extract/demo_style.yml
	@$(MODERN) tools/report.py results/demo_style --output results/demo_style/report.html

demo-api: env  ## Serve the embedded model and extract it over HTTP; ends with a table, a picture and both sides' books
	@$(MODERN) -m mea_plugin.serving.demo

study: env  ## Run the small study and compare it with its published results; ten minutes on two cores
	@$(MODERN) -W ignore tools/study.py -opt options/study/small.yml --output results/study/small --workers 0 \
		--reproduce docs/results/small/study.json

test: env-dev  ## Run all tests in the modern environment
	@$(ONE_THREAD) $(MODERN) $(PYTEST) $(ARGS)

test-fast: env-dev  ## Run one case of each test that neither starts a process nor trains, for the loop while working
	@$(ONE_THREAD) $(MODERN) $(PYTEST) --fast $(ARGS)

test-classic: env-classic  ## Run what depends on versions of torch or toolboxes in the classic environment (Python 3.11)
	@$(ONE_THREAD) $(CLASSIC) $(PYTEST) -m 'not modern_only' $(ARGS)

test-extras: env  ## Install each extra alone into a fresh environment and do what it promises (EXTRAS='serve report')
	@$(ONE_THREAD) $(MODERN) requirements/test_extras.py $(EXTRAS)

docs-tables: env  ## Write the option tables of the docs again, from the models that check the options
	@$(MODERN) -W ignore -m mea_plugin.doctor.option_tables docs/*.md

lint: env-dev  ## Check style, types and what may import what
	@$(MODERN) -m ruff check $(CHECKED)
	@$(MODERN) -m ruff format --check $(CHECKED)
	@$(MODERN) -m mypy
	@.venv/bin/lint-imports --no-cache

chaos: env-dev  ## Query a service that fails in every way, kill both sides, compare their books; ten minutes
	@$(MODERN) -m tests.chaos $(ARGS)

fuzz: env-dev  ## Give every reader of untrusted bytes what nobody meant to write, guided by coverage; five minutes
	@$(MODERN) -m tests.fuzz $(ARGS)

bench: env-dev  ## Measure losses, optimizers, training, query runs, the service and evaluation beside their peers, as ratios
	@$(MODERN) -W ignore tools/benchmark.py losses optim train query serve evaluate

chromium:  ## Install Debian's Chromium, which the tests of the report drive (needs apt and root)
	@if command -v chromium >/dev/null; then echo "chromium is there: $$(command -v chromium)"; \
	elif ! command -v apt-get >/dev/null; then \
		echo 'error: no apt-get here; install Chromium another way, so that PATH holds `chromium`.' >&2; exit 2; \
	elif [ "$$(id -u)" -ne 0 ]; then echo 'error: apt-get needs root; type: sudo make chromium.' >&2; exit 2; \
	else apt-get update -q && DEBIAN_FRONTEND=noninteractive \
		apt-get install -q -y --no-install-recommends chromium; fi

env:  ## Make .venv, or bring it up to date
	@PYTHON='$(PYTHON)' sh requirements/env.sh modern .venv

env-dev:
	@PYTHON='$(PYTHON)' sh requirements/env.sh modern .venv --dev

env-classic:
	@PYTHON='$(PYTHON_CLASSIC)' PYTHON_VARIABLE=PYTHON_CLASSIC sh requirements/env.sh classic .venv-classic --dev

# Pins that still resolve stay as they are; delete a line of a lock, or change a .in file, to move it.
COMPILE = ../$(MODERN) -m uv pip compile --quiet --no-python-downloads --no-annotate --custom-compile-command 'make lock'

lock: env  ## Resolve requirements/*.in into the pinned lists again
	@cd requirements && for version in 3.10 3.11 3.12; do \
		$(COMPILE) --no-strip-markers --python-version $$version --excludes left-out.txt modern.in \
			-o modern-py$$(echo $$version | tr -d .).txt || exit 1; done
	@cd requirements && $(COMPILE) --no-strip-markers --python-version 3.11 --excludes left-out.txt classic.in \
		-o classic-py311.txt
	@cd requirements && $(COMPILE) --universal --python-version 3.10 --excludes left-out-dev.txt \
		-c modern-py310.txt dev.in -o dev.txt

clean:  ## Remove caches and build leftovers
	@rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find mea_plugin tools tests requirements -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## Remove the environments too; what was extracted and trained stays
	@rm -rf .venv .venv-classic .venv.lock .venv-classic.lock mea_plugin.egg-info
