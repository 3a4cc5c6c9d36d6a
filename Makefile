# Each target works on a fresh machine: it makes the environment first where there is none.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: install test fix demo app

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

test: install
	$(PY) -m pytest

fix: install
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .
