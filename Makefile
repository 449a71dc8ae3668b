# `make demo` runs the main job, `make test` the tests; each makes its own virtual environment first.
# PYTHON chooses the Python, 3.11 to 3.14. TORCH=yes installs PyTorch for the tests, whatever its size; TORCH=no never
# does; by default it is installed if pip finds a build without CUDA.
PYTHON ?= python3
PARALLEL ?= -n auto --dist worksteal
TORCH ?= auto
PIP = bin/python -m pip install --quiet --disable-pip-version-check

# A new environment is made when the Python or the lists change: a stamp in it has the version.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)
ifneq ($(MAKECMDGOALS),clean)
ifneq ($(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null),True)
$(error $(PYTHON) is $(or $(VERSION),no Python); expected Python 3.11 or newer, e.g. make demo PYTHON=python3.13)
endif
endif

.PHONY: demo test test-slow test-random lint bench site clean

# fails unless the demonstration made a new result
demo: .venv-demo/$(VERSION)
	@touch .venv-demo/start
	.venv-demo/bin/emow2v demo --output demo-output
	@find demo-output -name 'example.arousal.annotation~' -size +0 -newer .venv-demo/start | grep -q . \
	|| { echo 'emow2v demo ended without its results; expected demo-output/example.arousal.annotation~' >&2; exit 1; }

test: .venv-test/torch-$(TORCH)-$(VERSION)
	.venv-test/bin/python -m pytest -m "not slow" $(PARALLEL)

# slow tests: whole trainings, exports at full size, injected faults
test-slow: .venv-test/torch-$(TORCH)-$(VERSION)
	.venv-test/bin/python -m pytest -m slow $(PARALLEL)

# property tests with new examples; the header names the seed that repeats them
test-random: .venv-test/torch-$(TORCH)-$(VERSION)
	EMOW2V_HYPOTHESIS=$(or $(EMOW2V_HYPOTHESIS),random) .venv-test/bin/python -m pytest -m "hypothesis and not slow" $(PARALLEL)

lint: .venv-test/torch-$(TORCH)-$(VERSION)
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	MYPYPATH=src .venv-test/bin/mypy --strict tools
	.venv-test/bin/lint-imports

bench: .venv-test/torch-$(TORCH)-$(VERSION)
	.venv-test/bin/python benchmarks/engines.py
	.venv-test/bin/python benchmarks/peers.py
	.venv-test/bin/python benchmarks/job.py
	.venv-test/bin/python benchmarks/fidelity.py
	.venv-test/bin/python benchmarks/memory.py

# the documentation in site/; a browser can open index.html from the disk
site: .venv-docs/$(VERSION)
	NO_COLOR=1 .venv-docs/bin/zensical build --clean --strict
	.venv-docs/bin/python scripts/check_site.py site

.venv-docs/$(VERSION): requirements/docs.txt
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/$(PIP) -r requirements/docs.txt
	@touch $@

.venv-demo/$(VERSION): requirements/demo.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-demo
	.venv-demo/$(PIP) -r requirements/demo.txt
	.venv-demo/$(PIP) --no-deps --editable .
	@touch $@

.venv-test/$(VERSION): requirements/test.txt requirements/torch.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-test
	.venv-test/$(PIP) -r requirements/test.txt
	.venv-test/$(PIP) --no-deps --editable .
	@touch $@

.venv-test/torch-$(TORCH)-$(VERSION): .venv-test/$(VERSION)
	.venv-test/bin/python scripts/install_torch.py $(TORCH)
	@touch $@

clean:
	rm -rf .venv-demo .venv-docs .venv-test site demo-output build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
