# make run       install into .venv, then start a filer with two live key servers
# make test      install what the tests need, then run them
# make test-all  the same, but try every case of which "make test" tries a sample
# make lint      check style and format
# make types     check types
# make man       check the manual pages
# make bench     measure the speed beside that of other programs (bench/README.md)
# make schema    write the schemas of --format json, the tables of docs/JSON.md, docs/QUALIFY.md
# make pictures  take the pictures of the README again
# make clean     remove .venv and whatever else can be made again
# make help      show this list
#
# PYTHON=python3.13 chooses the Python of .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat --editable
# What the tests need of the host: command and Debian package.
TOOLS := mandoc:mandoc man:man-db groff:groff-base col:bsdextrautils ssh:openssh-client zsh:zsh \
	less:less expect:expect strace:strace dbclient:dropbear-bin plink:putty-tools

# What the benchmark compares the filer with; they have an environment of their own.
PEERS := litecli cmd2 xonsh
PEERS_VENV := .venv-bench

# Shell code: install the Debian packages in $missing, or say in one line what is missing.
define provide
if [ -n "$$missing" ]; then \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; \
	else \
		echo "filer needs these packages, named as on Debian:$$missing" >&2; \
		exit 1; \
	fi; \
fi
endef

.PHONY: run test test-all lint types man bench schema pictures clean help tools

run: $(VENV)/installed
	@$(BIN)/filer --demo

test: $(VENV)/installed-test tools
	$(BIN)/pytest --numprocesses auto --dist worksteal

test-all: export FILER_TEST_ALL = 1
test-all: export PYTEST_TIMEOUT = 7200
test-all: test

bench: $(VENV)/installed-test $(PEERS_VENV)/installed
	$(BIN)/python -m compileall -q commands filer keyserver qualify shell storm  # as an installed program is
	$(BIN)/python -W ignore -m bench --peers $(PEERS_VENV)/bin --results bench/RESULTS.md

schema: $(VENV)/installed-test
	$(BIN)/python -m tests.kit.json_schema
	$(BIN)/python -m tests.kit.qualify_documents
	$(BIN)/python -m tests.kit.storm_documents

pictures: $(VENV)/installed-test tools
	$(BIN)/python -m tests.kit.pictures

lint: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/installed-test
	$(BIN)/mypy

man: tools
	mandoc -T lint -W warning man/*.1
	@for page in man/*.1; do \
		said=$$(man --warnings --encoding=ascii --local-file $$page 2>&1 >/dev/null); \
		test -z "$$said" || { echo "$$page: $$said"; exit 1; }; \
	done

tools:
	@missing=; \
	for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	$(provide)

# The links make shell/ the package filer.shell, and so on; a download may have lost them.
$(VENV)/installed: setup.cfg pyproject.toml
	@missing=; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing=" $(notdir $(PYTHON))-venv"; \
	$(provide)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"$(PYTHON) is too old: filer needs Python 3.11 or newer, such as PYTHON=python3.13")'
	@for folder in shell commands keyserver qualify storm man; do \
		[ -d filer/$$folder ] || ln -sfn ../$$folder filer/$$folder; \
	done
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(INSTALL) '.[test]'
	@touch $@

$(PEERS_VENV)/installed: Makefile
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/pip install --quiet --disable-pip-version-check $(PEERS)
	@touch $@

help:
	@sed -n 's/^# \(make [a-z-]* .*\)/\1/p' Makefile

clean:
	rm -rf $(VENV) $(PEERS_VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
