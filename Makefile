# Every task of the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Optional parts to install as well, such as EXTRAS=ray; each set has a stamp of its own.
EXTRAS ?=
STAMP := $(VENV)/.installed$(EXTRAS:%=-%)
PARITY := .venv-parity
PARITY_STAMP := $(PARITY)/.installed
KEDRO := $(BIN)/kedro
SITE := build/kedro-viz
# What kedro-viz asks of its server, and leaves out of a static site.
NOTHING_MISSING := {"has_missing_dependencies": false, "package_compatibilities": \
	[{"package_name": "fsspec", "package_version": "2023.9.0", "is_compatible": true}]}
ENGINE := files diffusion rewards training algorithms evaluation
COVERAGE := $(foreach part,$(ENGINE),--cov=dpok_pipeline.$(part))
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help install demo smoke claims reproduce test pytest lint format audit bench full-size parity stress mlflow viz viz-site clean

help: ## List every target
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## Make .venv with the tested set of packages

# torch first, by its pin: resolved together with the rest, pip may take a CUDA build of
# several gigabytes where the index also has a CPU one.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,viz$(EXTRAS:%=,%)]'
	touch $(STAMP)

# Two processes of one thread each do more than one of two threads.
demo: install ## The paper's comparison on EmojiWorld: about ten minutes on two cores
	$(KEDRO) run --workers 2

smoke: install ## The same five pipelines with tiny budgets, to try an edit
	$(KEDRO) run --env smoke

claims: install ## The demo over three training seeds
	$(KEDRO) claims --workers 2

reproduce: install ## The paper's figures on EmojiWorld, unit by unit: hours; the rows are in git
	$(BIN)/python -m benchmarks.reproduce

lint: install ## ruff, mypy and the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Let ruff put the files in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install ## Linters and, beside them, all tests
	$(MAKE) --jobs 2 lint pytest

pytest: install ## All tests, with the coverage floor of the engine
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadgroup $(COVERAGE) \
		--cov-report=term --cov-fail-under=90

bench: install ## Speed and memory of rollout and update, against the machine's own rate
	$(BIN)/python -m benchmarks

# Strict: a package that cannot be looked up is not clean.
audit: ## Known advisories on the tested packages, from PyPI
	test -x .audit/bin/pip-audit || \
		($(PYTHON) -m venv .audit && .audit/bin/python -m pip install --quiet pip-audit)
	.audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

full-size: install ## Env paper on full-size models with random weights, a tiny budget: DATA=FOLDER
	@test -n "$(DATA)" || (echo 'DATA=FOLDER: which files it holds is in benchmarks/random_models.py' && false)
	$(BIN)/python -m benchmarks.full_size $(DATA)

stress: install ## Kill, starve of disk, generate 20,000 images, try 2,000 inputs: an hour on one core
	OMP_NUM_THREADS=1 $(BIN)/pytest -m stress
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.stress

# Old releases that image-reward imports with; torchvision's wheels bring a CUDA build of torch.
$(PARITY_STAMP): constraints-parity.txt
	test -x $(PARITY)/bin/python || $(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --upgrade --constraint constraints-parity.txt \
		setuptools wheel
	$(PARITY)/bin/python -m pip install --quiet --constraint constraints-parity.txt \
		--no-build-isolation --editable '.[image-reward]'
	touch $(PARITY_STAMP)

parity: install $(PARITY_STAMP) ## Our ImageReward against the published package (6 GB, minutes)
	$(BIN)/python -m benchmarks.parity prepare build/parity
	$(PARITY)/bin/python -m benchmarks.parity package build/parity
	$(BIN)/python -m benchmarks.parity ours build/parity
	$(PARITY)/bin/python -m benchmarks.parity ours_there build/parity
	$(BIN)/python -m benchmarks.parity changes build/parity
	$(BIN)/python -m benchmarks.parity compare build/parity --result benchmarks/results/parity.json

mlflow: install ## Open the runs in the MLflow UI
	$(KEDRO) mlflow ui

viz: install ## Open the pipelines, datasets and previews in kedro-viz
	$(KEDRO) viz run

# kedro-viz always writes into build/, beside whatever else lies there, and asks for the status of the
# last run at the host's root: a site that lies below it, as on GitHub Pages, would show none.
viz-site: install ## The same as a static site for any web server, in build/kedro-viz
	rm -rf $(SITE) build/api build/assets
	$(KEDRO) viz build --include-previews
	mkdir -p $(SITE)
	cd build && mv api assets index.html 404.html favicon.ico ../$(SITE) \
		&& rm -rf autoreload.html telemetry.html .vite
	sed -i.bak 's|"/api/run-status"|"./api/run-status"|' $(SITE)/assets/index-*.js
	rm -f $(SITE)/assets/*.bak
	echo '$(NOTHING_MISSING)' > $(SITE)/api/metadata

clean: ## Remove what runs produced: data layers 02 to 08, tracking, logs, caches
	find data -mindepth 2 -not -path '*/01_raw*' -not -name .gitkeep -type f -delete
	find data -mindepth 2 -not -path '*/01_raw*' -type d -empty -delete
	rm -rf mlflow.db mlartifacts logs build .viz/*.json.lock \
		.viz/kedro_pipeline_events.json .viz/stats.json .pytest_cache .mypy_cache .ruff_cache
