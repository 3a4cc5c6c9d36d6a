# Each target works on a fresh machine: it makes the environment first where there is none.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
DEMO := demo

.PHONY: install browser php test fix demo app lowest fuzz kills bench official

install: $(VENV)/.installed

# torch alone and first: with its pin settled, nothing that depends on it brings CUDA along.
$(VENV)/.installed: requirements-lock.txt
	@echo "Installing into $(VENV): some minutes, some 2.5 GB."
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' requirements-lock.txt)"
	$(PIP) -r requirements-lock.txt
	touch $@

# The page is tested in Debian's Chromium; without it those tests skip and say so.
browser:
	@command -v chromedriver >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; } \
		|| echo "no chromium here: the tests of the page in a browser will be skipped"
	@test -f $(VENV)/axe/node_modules/axe-core/axe.min.js \
		|| npm install --silent --no-fund --no-audit --prefix $(VENV)/axe axe-core@4.14.1 2>/dev/null \
		|| echo "no npm here: the page is not checked by axe-core"

# The exported weights are read by PHP itself, as the site does; without it that test skips and says so.
php:
	@command -v php >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq php-cli >/dev/null; } \
		|| echo "no PHP here: the test of the exported weights in PHP will be skipped"

# As many processes as cores; the tests of one file stay together, since they share what is costly to make.
# Byte code is kept, whatever the environment says: what the tests start would compile the project each time.
JOBS ?= 2
test: install browser php
	PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(JOBS) --dist loadfile

# Odd input of every kind, FUZZ cases a test, and how many were tried; a short part of it runs with the tests.
FUZZ ?= 500
fuzz: install
	GEOGRAPH_FUZZ=$(FUZZ) $(PY) -m pytest tests/fuzz -s

# Commands killed at random moments and started again, for KILLS seconds each: the same bits in the end.
KILLS ?= 120
kills: install
	$(PY) -m tests.kills --seconds $(KILLS)

# Every ratio in one run, on a quiet machine: docs/speed.md, docs/speed.json, docs/speed.png.
bench: install
	$(PY) benchmarks/run.py

fix: install
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

demo: install
	@echo "These rows are SYNTHETIC, made to try everything on; README.md says how to get the official ones."
	$(PY) prepare_dataset.py --source synthetic:12000 --output_dir $(DEMO)/geograph-types
	$(PY) train.py --dataset $(DEMO)/geograph-types --dataset_config small \
		--output_dir $(DEMO)/geograph-type-classifier --overwrite_output_dir
	$(PY) evaluate_model.py --model $(DEMO)/geograph-type-classifier --dataset $(DEMO)/geograph-types \
		--dataset_config small --split test --output_dir $(DEMO)/report --update_card
	$(PY) examples/first_answer.py $(DEMO)

# The official results from the public rows; OFFICIAL_ROWS and OFFICIAL_WEIGHTS name others. Nothing is pushed.
official: install
	$(PY) -m geograph_types.official

app: install
	@test -f $(DEMO)/geograph-type-classifier/model.safetensors || $(MAKE) demo
	$(PY) app.py --model $(DEMO)/geograph-type-classifier

# The oldest versions that the metadata admits, tried on what travels, on rows and on the dataset.
LOWEST := .venv-lowest
lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements-lowest.txt)"
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check -r requirements-lowest.txt
	$(LOWEST)/bin/python -m pytest tests/model tests/rows tests/dataset tests/hub tests/training tests/evaluation \
		--ignore tests/training/test_two_processes.py --deselect tests/hub/test_end_to_end.py::test_the_space_starts_from_its_files_alone
