# `make check` does what .ci/run does, in the environment you have.
.PHONY: browser check compiler format proxy ray slow

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

proxy:
	pytest -m proxy

ray:
	pytest -m ray

format:
	ruff check --fix .
	ruff format .
