# make run:  install into .venv, then a filer with two running key servers
# make test: install what the tests need, then run them all
# make test-all: the same, trying every point of which "make test" tries a few
# make bench: measure the filer beside its peers (bench/README.md)
# make pictures: take the pictures of the README again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat --editable
# What the tests need of the host: command and Debian package.
TOOLS := mandoc:mandoc man:man-db groff:groff-base col:bsdextrautils ssh:openssh-client zsh:zsh \
	less:less expect:expect strace:strace

# What the benchmark compares the filer with; they have an environment of their own.
PEERS := litecli cmd2 xonsh
PEERS_VENV := .venv-bench

.PHONY: run test test-all bench pictures lint types man tools clean

run: $(VENV)/installed
	@$(BIN)/filer --demo

test: $(VENV)/installed-test tools
	$(BIN)/pytest --numprocesses auto

test-all: export FILER_TEST_ALL = 1
test-all: test

bench: $(VENV)/installed-test $(PEERS_VENV)/installed
	$(BIN)/python -m compileall -q commands filer keyserver shell  # as an installed program is
	$(BIN)/python -W ignore -m bench --peers $(PEERS_VENV)/bin --results bench/RESULTS.md

pictures: $(VENV)/installed-test tools
	$(BIN)/python -m tests.pictures

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
	@for tool in $(TOOLS); do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		become=; [ "$$(id -u)" = 0 ] || become=sudo; \
		$$become apt-get update -qq && \
		$$become apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# The links make shell/ the package filer.shell, and so on; a download may have lost them.
$(VENV)/installed: setup.cfg pyproject.toml
	@for folder in shell commands keyserver man; do \
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

clean:
	rm -rf $(VENV) $(PEERS_VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
