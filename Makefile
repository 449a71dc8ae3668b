# `make demo` runs the main job, `make test` the tests; each makes its own virtual environment first.
PYTHON ?= python3

.PHONY: demo test lint bench clean

demo: .venv-demo/ready
	.venv-demo/bin/emow2v demo --output demo-output

test: .venv-test/ready
	.venv-test/bin/python -m pytest

lint: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy

bench: .venv-test/ready
	.venv-test/bin/python benchmarks/engines.py
	.venv-test/bin/python benchmarks/peers.py
	.venv-test/bin/python benchmarks/job.py
	.venv-test/bin/python benchmarks/fidelity.py
	.venv-test/bin/python benchmarks/memory.py

.venv-demo/ready: requirements/demo.txt pyproject.toml
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/demo.txt
	.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

.venv-test/ready: requirements/test.txt pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/test.txt
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf .venv-demo .venv-test demo-output build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
