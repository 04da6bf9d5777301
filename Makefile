# make run:  install into .venv, then a filer with two running key servers
# make test: install what the tests need, then run them all

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check \
	--config-settings editable_mode=compat --editable
# What the tests of the manual pages compare with: command and Debian package.
TOOLS := mandoc:mandoc man:man-db groff:groff-base col:bsdextrautils

.PHONY: run test lint types man tools clean

run: $(VENV)/installed
	@$(BIN)/filer --demo

test: $(VENV)/installed-test tools
	$(BIN)/pytest --numprocesses auto

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

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(INSTALL) '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
