# Everything runs in a virtual environment of its own, .venv, made on the first call.
# Needed on the machine: make, and Python 3.11 or later (with venv; Debian: python3-venv).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test check half other-half format lint lock docs release deb sbom test-packages bench soak brokers promtool builders

VENV := .venv
BIN := $(VENV)/bin
# Another interpreter: make test PYTHON=/opt/python/bin/python3
PYTHON :=
# Tests that need no broker and no time; with few examples of each property, and without those marked slow. They run in two
# halves that take equally long: for so many short tests, handing each to a worker takes a fifth of the time.
QUICK := -q -m "not soak and not slow and not packages" --hypothesis-profile brief
HALF := tests/architecture tests/golden tests/property tests/unit/agent tests/unit/dispatcher tests/unit/listener
# System tests mostly wait, for processes and brokers: so many for each core keep it busy.
WORKERS = $$((3 * $$(nproc)))
# Mosquitto lives in /usr/sbin, which is not on everybody's PATH.
export PATH := $(PATH):/usr/sbin
# Tests start hundreds of agents and dispatchers: each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.demo ## play a broken uplink on this machine, live, and end with the account
	$(BIN)/python -m edgeagent demo

test: $(VENV)/.dev brokers promtool ## run all tests but the long ones; installs brokers, nginx and a browser if it can
	$(BIN)/python -m pytest -m "not soak and not packages" --numprocesses $(WORKERS) --dist worksteal

check: $(VENV)/.dev ## lint, and the quick tests: under a minute on two cores
	@$(MAKE) --no-print-directory --jobs 3 lint half other-half

half: $(VENV)/.dev
	$(BIN)/python -m pytest $(QUICK) $(HALF)

other-half: $(VENV)/.dev
	$(BIN)/python -m pytest $(QUICK) tests/unit $(HALF:%=--ignore=%)

format: $(VENV)/.dev ## format the code, and apply ruff's safe fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: $(VENV)/.dev ## format, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: $(VENV)/.dev brokers ## measure every figure beside its reference
	$(BIN)/python -m benchmarks

# pytest fails (5) when it finds no soak test, and so does this.
soak: $(VENV)/.dev brokers ## kill, cut power and cut the line a thousand times, draw many examples; takes long
	$(BIN)/python -m pytest -m "soak or hypothesis" --hypothesis-profile soak --timeout 14400

# Locked versions stay where pyproject.toml still allows them. For newer ones: make lock UPGRADE=--upgrade
LOCK = $(BIN)/uv pip compile --quiet --no-config --no-header --universal --python-version 3.11 --generate-hashes \
	$(UPGRADE) pyproject.toml
lock: $(VENV)/.dev ## resolve all dependencies and write them to requirements/, with hashes
	$(LOCK) --extra dev --output-file requirements/dev.txt
	$(LOCK) --extra demo --constraints requirements/dev.txt --output-file requirements/demo.txt
	$(LOCK) --extra amqp --extra artifacts --extra azure --extra dispatch --extra otel --extra proxy --extra pubsub \
		--extra s3 --extra webhook --extra websocket --extra yaml \
		--constraints requirements/dev.txt --output-file requirements/run.txt

# A copy of the pages and of what they link to, so that links of the source tree are links of the site.
BUILD := build
SITE := *.md *.example.toml LICENSE docs deploy requirements packages/files systemd
docs: $(VENV)/.dev ## the documents as a site, into build/site; a link that leads nowhere is an error
	rm -rf $(BUILD)/site-source $(BUILD)/site
	mkdir -p $(BUILD)/site-source
	cp --recursive --parents $(SITE) $(BUILD)/site-source
	cp mkdocs.yml $(BUILD)
	$(BIN)/mkdocs build --config-file $(BUILD)/mkdocs.yml

release: $(VENV)/.dev ## build this version, try it in an empty environment, tag it (locally)
	.ci/release $(BIN)/python

deb: $(VENV)/.dev ## build the Debian packages for all releases and machines, into dist/
	$(BIN)/python -m packages

sbom: $(VENV)/.dev ## write the bill of materials (CycloneDX), into dist/
	$(BIN)/python -m packages.sbom

test-packages: $(VENV)/.dev brokers builders ## install, run, upgrade and remove the packages on real Debian systems, as root
	$(BIN)/python -m pytest -m packages tests/packages

brokers:
	@missing=; command -v mosquitto >/dev/null || missing=mosquitto; \
	command -v mosquitto_pub >/dev/null || missing="$$missing mosquitto-clients"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	[ -e /usr/lib/rabbitmq/bin/rabbitmq-server ] || missing="$$missing rabbitmq-server"; \
	command -v nginx >/dev/null || missing="$$missing nginx-light"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$$missing libfaketime"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	else \
		echo "needed: sudo apt-get update && sudo apt-get install -y $$missing" >&2; exit 1; \
	fi

# What builds and tries packages. qemu runs the programs of the other machines.
BUILDERS := gcc-arm-linux-gnueabihf libc6-dev-armhf-cross debian-archive-keyring lintian mmdebstrap qemu-user-static binfmt-support
builders:
	@missing=$$(for each in $(BUILDERS); do dpkg --status $$each >/dev/null 2>&1 || echo $$each; done | tr '\n' ' '); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	else \
		echo "needed: sudo apt-get update && sudo apt-get install -y $$missing" >&2; exit 1; \
	fi

# Of Debian's package only the program that tests the alert rules, 19 MB to fetch: an installed package starts a server.
PROMTOOL := $(VENV)/bin/promtool
promtool: | $(BIN)/python
	@if command -v promtool >/dev/null || [ -x $(PROMTOOL) ]; then exit 0; fi; \
	if ! command -v dpkg-deb >/dev/null; then echo "needed: promtool, which comes with Prometheus" >&2; exit 1; fi; \
	work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT; \
	if [ "$$(id -u)" = 0 ]; then apt-get update; fi; \
	(cd "$$work" && apt-get download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool); \
	if ! mv "$$work/usr/bin/promtool" $(PROMTOOL); then \
		echo "needed: sudo apt-get update, and again: make promtool" >&2; exit 1; \
	fi

# A stamp is newer than its lock when what that names is installed. The demonstration runs from here, without an install.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(PIP) --require-hashes --requirement requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.demo $@

$(VENV)/.demo: requirements/demo.txt | $(BIN)/python
	$(PIP) --require-hashes --requirement requirements/demo.txt
	@touch $@

$(BIN)/python:
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		"$$python" -c 'import ensurepip' 2>/dev/null || { missing="$$missing $$python"; continue; }; \
		echo "making $(VENV) with $$python"; \
		exec "$$python" -m venv $(VENV); \
	done; \
	if [ -n "$$missing" ]; then \
		echo "no venv in:$$missing; install it: sudo apt-get install -y python3-venv" >&2; \
	else \
		echo 'Python 3.11 or later is needed; name one with: make PYTHON=/path/to/python3' >&2; \
	fi; \
	exit 1
