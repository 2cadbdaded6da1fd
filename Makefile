# Two commands do all: `make demo` runs the main job, `make test` passes. One environment, .venv/, built once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The model that the demonstration and the long tests use is made once, in here.
export SFTLIB_CACHE ?= $(CURDIR)/.cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Source only, and its setup looks at torch: no build isolation. None of its kernels is built, so no compiler is needed.
DEEPSPEED = DS_BUILD_OPS=0 $(if $(wildcard /dev/nvidiactl /dev/kfd),,DS_ACCELERATOR=cpu) \
  $(BIN)/python -m pip install --quiet -c constraints.txt --no-build-isolation deepspeed

.PHONY: install demo test check format lock posts bench-cpu bench-gpu training-quality image cluster-demo chaos docs clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sftlib needs Python 3.11 or newer; found $$($(PYTHON) --version): make PYTHON=python3.11 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt setuptools wheel
	@$(DEEPSPEED) || echo "DeepSpeed could not be installed: parallel.strategy zero1, zero2 and zero3 are not available" >&2
	touch $@

demo: install
	$(BIN)/sft run configs/experiments/demo_cpu.yaml --cluster local

test: install
	$(BIN)/sft stage configs/experiments/demo_cpu.yaml
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# What CI runs.
check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Renew the exact versions from the environment as it is now.
lock: install
	{ sed '/^[^#]/,$$d' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//; s/+cu[0-9]*//'; } > constraints.new
	mv constraints.new constraints.txt

# Write the bundled posts anew from their generator.
posts: install
	$(BIN)/python -m sftlib.data.posts.generate

# Speed, with peers in the same run; benchmarks/results holds what was measured.
bench-cpu: install
	$(BIN)/python -m benchmarks cpu

# Fast and plain training beside each other: loss and F1 with three seeds.
training-quality: install
	$(BIN)/python -m benchmarks.training_quality

bench-gpu: install
	$(BIN)/python -m benchmarks gpu

# The image in which stages run where there is no GPU, for the demonstration and the tests. Needs root once, for its base.
IMAGE := .cache/images/sft-cpu.sif
image: $(IMAGE)

$(IMAGE): constraints.txt pyproject.toml containers/cpu.def containers/install.sh
	containers/build.sh cpu --compression zstd:3 --output $@

# From nothing to a report on a Slurm cluster of this machine's own, stages in the image; then against the local profile.
cluster-demo: install image
	slurm/devcluster install
	$(BIN)/sft stage configs/experiments/demo_cluster.yaml
	$(BIN)/python -m benchmarks.cluster_demo --image $(IMAGE)

# Runs killed at many moments, and run again.
chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/e2e -k "killed or damage"
	$(BIN)/python -m benchmarks.killed_training --kills 10
	$(BIN)/python -m benchmarks.prediction_kills --kills 50

# The pages of the manual that the program writes itself.
docs: install
	$(BIN)/sft schema --markdown > docs/experiment.md.new
	mv docs/experiment.md.new docs/experiment.md

clean:
	rm -rf $(VENV) build *.egg-info
