# One virtual environment, .venv, made once from the pinned set in constraints.txt and used by every target.
# `make demo` shows the codec at work; `make test lint types` is what continuous integration runs.

PYTHON ?= python3
PICTURE ?=
INPUTS ?= 1000000

# The pinned set has wheels for these versions; a newer or older python3 is passed over for one of them.
find_python = for name in $(PYTHON) python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo "$$name" && exit; done

venv := .venv
pip := $(venv)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
build_inputs := pyproject.toml constraints.txt $(wildcard kernels/*.cpp kernels/*.h kernels/*.cmake kernels/CMakeLists.txt)
typed_packages := $(foreach name,codecs entropy kernels data tools,$(if $(wildcard $(name)/__init__.py),-p rarefy.$(name)))

.PHONY: help demo test test-all fuzz lint format types pages wheel clean

help:
	@echo "make demo [PICTURE=path]  encode a picture, compare it with JPEG, WebP and AVIF; results in demo/"
	@echo "make test | test-all      the test suite without | with its slow parts"
	@echo "make fuzz [INPUTS=n]      the C++ coder under libFuzzer (needs clang); the corpus grows by what reaches new code"
	@echo "make lint | types         ruff | mypy"
	@echo "make pages                write man page, completions and reference anew from parsers and docstrings"
	@echo "make wheel                build a wheel in dist/ and try it in an empty environment"
	@echo "make clean                remove .venv, build/, dist/ and demo/"

demo: $(venv)/bench.stamp
	$(venv)/bin/python -m rarefy.tools.demo --out demo $(if $(PICTURE),"$(PICTURE)")

test: $(venv)/all.stamp
	$(venv)/bin/python -m pytest -n 2 -m "not slow"

test-all: $(venv)/all.stamp
	$(venv)/bin/python -m pytest -n 2

fuzz: $(venv)/all.stamp
	cd tests && "$(CURDIR)/$(venv)/bin/python" -m fuzz.native --inputs $(INPUTS)

lint: $(venv)/all.stamp
	$(venv)/bin/ruff check .
	$(venv)/bin/ruff format --check .

format: $(venv)/all.stamp
	$(venv)/bin/ruff check --fix .
	$(venv)/bin/ruff format .

# mypy follows no import hooks: it sees the package through a link that bears its import name.
types: $(venv)/all.stamp
	mkdir -p build/types && ln -sfn "$(CURDIR)" build/types/rarefy
	cd build/types && "$(CURDIR)/$(venv)/bin/mypy" --config-file "$(CURDIR)/pyproject.toml" $(typed_packages)

# What programs write and git keeps; a test fails while these are not current.
pages: $(venv)/all.stamp
	$(venv)/bin/python -m rarefy.tools.pages

wheel: $(venv)/base.stamp
	rm -rf dist
	$(venv)/bin/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w dist .
	$(venv)/bin/python .ci/check_wheel.py dist constraints.txt

clean:
	rm -rf $(venv) build dist demo

$(venv)/base.stamp: constraints.txt
	@python="$$($(find_python))"; \
	if [ -z "$$python" ]; then echo "rarefy needs Python 3.11 or 3.12: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	echo "making $(venv) with $$python (the first time takes some minutes: torch is large)"; \
	"$$python" -m venv $(venv)
	$(pip) scikit-build-core nanobind cmake ninja
	@touch $@

$(venv)/bench.stamp: $(venv)/base.stamp $(build_inputs)
	$(pip) --no-build-isolation -e ".[bench]"
	@touch $@

$(venv)/all.stamp: $(venv)/base.stamp $(build_inputs)
	$(pip) --no-build-isolation -e ".[all]"
	@touch $@ $(venv)/bench.stamp
