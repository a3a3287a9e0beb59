# `make help` lists what there is. Everything is made under .venv and in the lab's own cache.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# All Pythons of a supported version on PATH and under pyenv, oldest first, each version once.
PYTHONS := $(shell for minor in 9 10 11 12 13 14; do \
	for python in python3.$$minor "$$HOME"/.pyenv/versions/3.$$minor.*/bin/python3.$$minor python3; do \
		path=$$(command -v "$$python" 2>/dev/null) || continue; \
		"$$path" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, $$minor))" \
			2>/dev/null && echo "$$path" && break; \
	done; done)

PYTHON ?= $(lastword $(PYTHONS))
# A bare name, such as python3.9, is taken from the list: pyenv's own names refuse to run.
named := $(lastword $(filter %/$(PYTHON),$(PYTHONS)))
ifneq ($(named),)
override PYTHON := $(named)
endif
TESTS ?= tests/unit
ARGS ?=
# Hosts spend most of their time waiting: two labs side by side take half the time of one. A file's
# tests share hosts, so they stay together.
LABS ?= --numprocesses 2 --dist loadfile
ANSIBLE_GALAXY ?= ansible-galaxy

# Expanded only by what needs it: the version's own folder, so that versions do not mix.
venv = .venv/$(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
pins := requirements/dev.txt

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Stamped with the pins: a changed pin makes the environment anew.
.venv/%/.made: $(pins)
	@rm -rf $(@D)
	@"$(MAKE_VENV_OF)" -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $(pins)
	@touch $@

.PHONY: venv
venv:
	@test -n "$(PYTHON)" || { echo "no Python from 3.9 on with venv was found" >&2; exit 1; }
	@$(MAKE) --no-print-directory MAKE_VENV_OF="$(PYTHON)" $(call venv,$(PYTHON))/.made

.PHONY: unit
unit: venv ## unit tests, no root, seconds; PYTHON=python3.9 for another version, ARGS for pytest
	@$(call venv,$(PYTHON))/bin/python -m pytest $(TESTS) $(ARGS)

.PHONY: unit-all
unit-all: ## unit tests on the oldest and the newest Python found
	@test -n "$(PYTHONS)" || { echo "no Python from 3.9 on with venv was found" >&2; exit 1; }
	@echo "oldest: $(firstword $(PYTHONS))"
	@echo "newest: $(lastword $(PYTHONS))"
	@$(MAKE) --no-print-directory unit PYTHON=$(firstword $(PYTHONS)) ARGS="--numprocesses 2"
	@test $(firstword $(PYTHONS)) = $(lastword $(PYTHONS)) || $(MAKE) --no-print-directory unit \
		PYTHON=$(lastword $(PYTHONS)) ARGS="--numprocesses 2"

.PHONY: check
check: venv ## formatting, lint, types, and whether generated documentation is up to date
	@$(call venv,$(PYTHON))/bin/ruff format --check .
	@$(call venv,$(PYTHON))/bin/ruff check .
	@$(call venv,$(PYTHON))/bin/mypy
	@$(call venv,$(PYTHON))/bin/mypy --python-version 3.11 tests/lab tests/hosts tests/fleet \
		benchmarks
	@$(call venv,$(PYTHON))/bin/python docs/generate.py --check

.PHONY: format
format: venv ## format the code, and repair what lint can repair
	@$(call venv,$(PYTHON))/bin/ruff check --fix .
	@$(call venv,$(PYTHON))/bin/ruff format .

.PHONY: docs
docs: venv ## write the generated parts of the documentation
	@$(call venv,$(PYTHON))/bin/python docs/generate.py

.PHONY: root
root:
	@test "$$(id -u)" = 0 || { echo "this needs root: sudo make $(MAKECMDGOALS)" >&2; exit 77; }

# With the environment's Python, which has what the lab imports.
lab = cd tests && PATH="$$PATH:/usr/sbin:/sbin" ../$(call venv,$(PYTHON))/bin/python -m lab

.PHONY: lab-packages
lab-packages: root venv
	@cd tests && packages=$$(../$(call venv,$(PYTHON))/bin/python -c \
		'from lab.packages import MACHINE_PACKAGES as p; print(*p)'); \
	for package in $$packages; do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed$$' && continue; \
		wanted="$${wanted:-} $$package"; \
	done; \
	if [ -n "$${wanted:-}" ]; then \
		apt-get update --quiet; \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes \
			--no-install-recommends $$wanted; \
	fi

.PHONY: lab
lab: lab-packages ## as root: install what the lab needs, build its base systems, get Ansible
	@$(lab) build

# A fresh Debian has a python3 that cannot make environments until python3-venv is there.
.PHONY: python
python: root
	@test -n "$(PYTHONS)" || { apt-get update --quiet; \
		DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
			python3 python3-venv; }

# What fails in one part does not hide what the next would have told: each part takes its minutes.
.PHONY: test
test: root python ## as root: everything; pytest's closing line of the hosts comes last
	@$(MAKE) --no-print-directory --keep-going check unit-all fuzz lab hosts

.PHONY: hosts
hosts: root venv ## as root: the tests on booted hosts and of fleets alone; ARGS for pytest
	@clean() { ($(lab) clean) >/dev/null || true; }; \
	trap clean EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	status=0; \
	$(call venv,$(PYTHON))/bin/python -m pytest tests/hosts tests/fleet $(LABS) $(ARGS) \
		|| status=$$?; \
	exit $$status

.PHONY: fuzz
fuzz: venv ## 10,000 generated policies, and as many damaged outputs; SYSMAIL_SEED=NUMBER for others
	@$(call venv,$(PYTHON))/bin/python -m pytest tests/fuzz --numprocesses 2 $(ARGS)

.PHONY: bench
bench: venv ## how fast it is: see benchmarks/
	@$(call venv,$(PYTHON))/bin/python benchmarks/run.py $(ARGS)

.PHONY: torture
torture: root venv ## as root: kill and break hosts at random, as long as you let it; ARGS for pytest
	@clean() { ($(lab) clean) >/dev/null || true; }; \
	trap clean EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	SYSMAIL_FAULTS=all $(call venv,$(PYTHON))/bin/python -m pytest tests/torture \
		tests/hosts/test_broken.py $(ARGS)

# The tool goes along as one archive, which the collection places on each host.
.PHONY: collection
collection: venv ## the Ansible collection as one file in dist/; ANSIBLE_GALAXY=/path/to/it
	@command -v $(ANSIBLE_GALAXY) >/dev/null || { echo "ansible-galaxy was not found:" \
		"install ansible-core, or name it by ANSIBLE_GALAXY" >&2; exit 1; }
	@rm -rf build/collection && mkdir -p build/collection dist
	@cp -RL src/ansible_collections/sysmail/host/. build/collection
	@find build/collection -name __pycache__ -type d -prune -exec rm -rf {} +
	@mkdir -p build/collection/files
	@PYTHONPATH=src $(call venv,$(PYTHON))/bin/python -c \
		'import sys; from sysmail.fleet import archive; sys.stdout.buffer.write(archive.build())' \
		>build/collection/files/sysmail.pyz
	@$(ANSIBLE_GALAXY) collection build --force --output-path dist build/collection

.PHONY: clean
clean: ## remove what was made in the checkout; the lab's cache of base systems stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
