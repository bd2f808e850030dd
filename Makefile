# `make check` does what .ci/run does, in the environment you have.
.PHONY: browser check compiler docs format proxy ray slow

check:
	ruff check .
	ruff format --check .
	mypy
	pytest -n auto

slow:
	pytest -m slow

browser:
	pytest -m browser

compiler:
	pytest -m compiler

docs:
	pytest -m docs -n auto --dist load

proxy:
	pytest -m proxy

ray:
	pytest -m ray

format:
	ruff check --fix .
	ruff format .
