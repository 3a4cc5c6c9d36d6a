# Each target works on a fresh machine: it makes the environment first where there is none.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
DEMO := demo

.PHONY: install browser test fix demo app

install: $(VENV)/.installed

# torch alone and first: with its pin settled, nothing that depends on it brings CUDA along.
$(VENV)/.installed: requirements-lock.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' requirements-lock.txt)"
	$(PIP) -r requirements-lock.txt
	touch $@

# The page is tested in Debian's Chromium; without it those tests skip and say so.
browser:
	@command -v chromedriver >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; } \
		|| echo "no chromium here: the tests of the page in a browser will be skipped"

test: install browser
	$(PY) -m pytest

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
	$(PY) demo.py $(DEMO)

app: install
	@test -f $(DEMO)/geograph-type-classifier/model.safetensors || $(MAKE) demo
	$(PY) app.py --model $(DEMO)/geograph-type-classifier
