# One word per chore; `make help` lists them. Everything runs in .venv, which the first command creates.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP_INSTALL := pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help

.PHONY: help demo test coverage test-hosts test-any-vae test-executorch test-runtime test-onnxruntime web docs wheel lint fix \
	bench bench-engines bench-peers bench-photos clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## */\t/' | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-17s %s\n' "$$name" "$$text"; done

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

# Two processes, whose threads do not spin while they wait for each other's. A file's tests share what they train.
test: $(INSTALLED)  ## the whole test suite; VAE_DATA may name a folder with MNIST
	GOMP_SPINCOUNT=1000 $(BIN)/python -m pytest -n 2 --dist loadfile

coverage: $(INSTALLED)  ## the test suite with the coverage of each file, a third slower; no threshold
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

test-runtime:  ## runs/latest/bundle on the base package alone, in .venv-runtime without PyTorch
	rm -rf .venv-runtime && $(PYTHON) -m venv .venv-runtime
	.venv-runtime/bin/$(PIP_INSTALL) .
	! .venv-runtime/bin/python -c 'import torch' 2> /dev/null
	.venv-runtime/bin/vae-verify runs/latest/bundle
	.venv-runtime/bin/vae-sample runs/latest/bundle --output .venv-runtime/samples.png
	.venv-runtime/bin/vae-reconstruct .venv-runtime/samples.png --output .venv-runtime/reconstruction.png

test-onnxruntime:  ## runs/latest/bundle on the oldest and the newest onnxruntime, in environments of their own
	$(PYTHON) tools/check_hosts.py

# Compilers and processors for the C source.
C_PROGRAMS := gcc clang wasm-ld go rustc qemu-arm aarch64-linux-gnu-gcc arm-linux-gnueabihf-gcc s390x-linux-gnu-gcc \
	javac mcs mono
C_PACKAGES := gcc clang lld golang-go rustc qemu-user gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf gcc-s390x-linux-gnu \
	libc6-dev-arm64-cross libc6-dev-armhf-cross libc6-dev-s390x-cross binutils \
	default-jdk-headless mono-mcs mono-runtime

# Debian packages are installed only where one is missing, which needs root.
test-hosts: $(INSTALLED) web  ## the same pictures in Node, Chromium and C++; installs them and forbids skipping
	which chromium cmake c++ && test -e /usr/include/opencv4/opencv2/dnn.hpp || \
		{ apt-get update && apt-get install -y --no-install-recommends chromium cmake g++ libopencv-dnn-dev; }
	which $(C_PROGRAMS) || { apt-get update && apt-get install -y --no-install-recommends $(C_PACKAGES) && \
		apt-get install -y libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev; }
	npm ci --ignore-scripts --no-audit --no-fund --prefix examples/node
	$(BIN)/$(PIP_INSTALL) --editable '.[dev,hosts]'
	VAE_REQUIRE_HOSTS=1 $(BIN)/python -m pytest tests/hosts tests/export/c_source --ignore tests/hosts/test_any_vae.py

# An environment in which pip and Python find what .venv has, PyTorch among it: only what is missing there is installed.
SITE_PACKAGES := python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
BESIDE_VENV = $(PYTHON) -m venv $(1) && $(BIN)/$(SITE_PACKAGES) > "$$($(1)/bin/$(SITE_PACKAGES))/shared.pth"

test-any-vae: $(INSTALLED)  ## the recipes of examples/any-vae, with pythae and diffusers in .venv-any-vae
	npm ci --ignore-scripts --no-audit --no-fund --prefix examples/node
	$(call BESIDE_VENV,.venv-any-vae)
	.venv-any-vae/bin/$(PIP_INSTALL) --editable '.[any-vae]'
	VAE_REQUIRE_HOSTS=1 VAE_ANY_VAE_PYTHON=$(CURDIR)/.venv-any-vae/bin/python $(BIN)/python -m pytest tests/hosts/test_any_vae.py

test-executorch: $(INSTALLED)  ## programs of ExecuTorch, which is installed in .venv-executorch
	$(call BESIDE_VENV,.venv-executorch)
	.venv-executorch/bin/$(PIP_INSTALL) --editable '.[executorch]'
	VAE_REQUIRE_HOSTS=1 .venv-executorch/bin/python -m pytest tests/export/checks/test_executorch.py

web:  ## the latent explorer, as a static site in web/dist; needs Node
	npm ci --ignore-scripts --no-audit --no-fund --prefix web
	node web/build.mjs

docs: $(INSTALLED)  ## the documentation, with the API reference, in site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'site/index.html is the documentation; with search: python3 -m http.server --directory site'

wheel: $(INSTALLED) web  ## dist/*.whl, with the latent explorer in it; needs Node
	rm -rf build/lib  # setuptools would pack modules that are gone from the checkout
	$(BIN)/python -m build --wheel --no-isolation

lint: $(INSTALLED)  ## ruff, mypy, and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(INSTALLED)  ## let ruff repair what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED)  ## the tables of docs/benchmarks.md; needs MNIST in VAE_DATA
	for script in $(filter-out $(NEEDS_ENGINES),$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

NEEDS_ENGINES := benchmarks/engines.py benchmarks/executorch_speed.py
bench-engines: $(INSTALLED) test-executorch  ## runs/latest in engines that nobody here wrote, 18 GB in environments of their own
	.venv-executorch/bin/vae-export --format all --format pte --output runs/latest/bundle-pte
	$(BIN)/python benchmarks/engines.py runs/latest/bundle-pte
	.venv-executorch/bin/python benchmarks/executorch_speed.py runs/latest/bundle-pte

bench-photos: $(INSTALLED)  ## photos beside preset conv and pythae; an hour, in an environment of its own
	$(PYTHON) -m venv .venv-photos
	.venv-photos/bin/$(PIP_INSTALL) --editable '.[all]' pythae scikit-image scikit-learn torchmetrics
	.venv-photos/bin/python benchmarks/peers/photos.py

PEERS := .venv-peers
bench-peers: $(INSTALLED)  ## training speed beside JAX and torch.compile; JAX goes into an environment of its own
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet "jax==0.10.2" "optax==0.2.8"
	$(BIN)/python benchmarks/train_speed.py --rounds 9 --compile --jax $(PEERS)/bin/python
	$(BIN)/python benchmarks/busy_neighbour.py --jax $(PEERS)/bin/python

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv, which takes about two minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/$(PIP_INSTALL) --editable '.[dev]'
	touch $@

clean:  ## remove everything that was built
	rm -rf .venv .venv-any-vae .venv-engines .venv-executorch .venv-hosts .venv-photos .venv-runtime build dist site web/dist web/node_modules examples/node/node_modules *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
