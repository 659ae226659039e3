# One word per chore. Everything runs in .venv, which the first word makes.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-hosts test-onnxruntime web lint fix bench clean

demo: $(INSTALLED)  ## train, export, sample and reconstruct
	$(BIN)/vae-train
	$(BIN)/vae-export
	$(BIN)/vae-sample --output runs/latest/samples.png
	$(BIN)/vae-reconstruct runs/latest/test_images/*.png --output runs/latest/reconstruction.png
	@echo
	@echo "Pictures drawn without PyTorch:"
	@echo "  runs/latest/samples.png          64 samples of seed 0"
	@echo "  runs/latest/reconstruction.png   test images above, reconstructions below"
	@echo "Pictures of the training: runs/latest/pictures/"

test: $(INSTALLED)  ## the whole test suite; VAE_DATA names the folder with MNIST, if there is one
	$(BIN)/python -m pytest

test-onnxruntime:  ## runs/latest/bundle on the oldest and the newest onnxruntime, in environments of their own
	$(PYTHON) tools/check_hosts.py

# Debian packages are installed only where one is missing, which needs root.
test-hosts: $(INSTALLED) web  ## the same pictures in Node, Chromium and C++: installs them, forbids skipping
	which chromium cmake c++ && test -e /usr/include/opencv4/opencv2/dnn.hpp || \
		{ apt-get update && apt-get install -y --no-install-recommends chromium cmake g++ libopencv-dnn-dev; }
	npm ci --ignore-scripts --no-audit --no-fund --prefix examples/node
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,hosts]'
	VAE_REQUIRE_HOSTS=1 $(BIN)/python -m pytest tests/hosts

web:  ## the latent explorer, as a static site in web/dist; needs Node
	npm ci --ignore-scripts --no-audit --no-fund --prefix web
	node web/build.mjs

lint: $(INSTALLED)  ## ruff, mypy, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED)  ## what ruff can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED)  ## the tables of the README; needs MNIST in VAE_DATA
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv, which takes about two minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-hosts build dist web/dist web/node_modules examples/node/node_modules *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache
