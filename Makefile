# Two commands matter: `make run` serves, `make test` tests. Everything installs into $(VENV).
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
RECIPE ?= model/recipes/shipped.toml

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
INSTALL := $(PIP) install -c constraints.txt --no-build-isolation
NATIVE := pyproject.toml constraints.txt kernels/CMakeLists.txt \
  $(shell find kernels/onebit_kernels/src -type f 2>/dev/null)
CLIPS := model/onebit_model/reference_sets/ljspeech/ljspeech.0.tar

.PHONY: run lint test test-system check train bench sanitize neon-test compose-check helm-check rules-check soak loadtest clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "This Python cannot make environments; on Debian and Ubuntu: apt install python3-venv python3-dev"; exit 1; }
	@command -v $${CXX:-c++} >/dev/null || { echo "A C++20 compiler is needed; on Debian and Ubuntu: apt install g++"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The build tools live in the environment, not in a fresh one per build: so a second build compiles only what changed.
$(VENV)/.tools: $(BIN)/python constraints.txt
	$(PIP) install -c constraints.txt scikit-build-core nanobind cmake ninja
	@touch $@

# Serving only: no torch.
$(VENV)/.serve: $(VENV)/.tools $(NATIVE)
	@echo "Building the extension and installing what serving needs into $(VENV) (once)"
	$(INSTALL) -e .
	@touch $@

# Training and tests. torchaudio comes without its dependencies: only its Python part is used.
$(VENV)/.dev: $(VENV)/.tools $(NATIVE)
	@echo "Installing the training and test tools into $(VENV) (once)"
	$(INSTALL) -e '.[train,whisper,plot,dev,deploy]'
	$(INSTALL) --no-deps torchaudio
	@touch $@ $(VENV)/.serve

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) -e '.[train,whisper,plot,dev,bench]'
	@touch $@

run: $(VENV)/.serve
	@echo "When it is ready, try one of:"
	@echo "  curl -F file=@SPEECH.wav 'http://$(HOST):$(PORT)/transcribe?bits=1'"
	@echo "  tar -xOf $(CLIPS) LJ001-0002.opus | curl -F file=@- 'http://$(HOST):$(PORT)/transcribe?bits=1'"
	@$(BIN)/onebit serve --host $(HOST) --port $(PORT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest

test-system: $(VENV)/.dev
	bash tests/system/requirements.sh
	$(BIN)/python -m pytest tests/system

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# On a CPU: arrays of megabytes stay with the process, and the matrix library keeps what it compiled (docs/training.md).
ON_CPU = MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 \
	ONEDNN_PRIMITIVE_CACHE_CAPACITY=8192

train: $(VENV)/.dev
	$(ON_CPU) $(BIN)/onebit train $(RECIPE)

bench: $(VENV)/.bench
	$(BIN)/onebit bench kernels
	$(BIN)/onebit bench engine

sanitize: $(VENV)/.dev
	bash tests/system/sanitize.sh

# Each with a real tool: Compose, Helm's engine and Kubernetes' schemas, promtool.
compose-check: $(VENV)/.dev
	$(BIN)/python -m pytest tests/deploy/test_compose.py tests/deploy/test_dockerfile.py

helm-check: $(VENV)/.dev
	$(BIN)/python -m pytest tests/deploy/test_helm.py

rules-check: $(VENV)/.dev
	bash tests/system/requirements.sh
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules deploy/prometheus/rules/*.yml
	promtool test rules deploy/prometheus/tests/*.test.yml
	$(BIN)/python -m pytest tests/deploy/test_rules.py

# MINUTES=300 for a night, LEAVING=12 for clients that leave at random moments, URL=http://... for a server that runs already.
MINUTES ?= 5
soak: $(VENV)/.dev
	$(BIN)/python -m loadtests.soak --minutes $(MINUTES) $(if $(LEAVING),--leaving $(LEAVING)) $(if $(URL),--url $(URL))

# BITS=2, PACKET_MS=20, STREAMS=80 for one number of streams, URL=http://... for a server that runs already.
BITS ?= 1
PACKET_MS ?= 100
loadtest: $(VENV)/.dev
	$(BIN)/python -m loadtests.streams --bits $(BITS) --packet-ms $(PACKET_MS) $(if $(STREAMS),--streams $(STREAMS),--search) $(if $(URL),--url $(URL))
	$(BIN)/python -m loadtests.files --bits $(BITS) $(if $(URL),--url $(URL))

neon-test:
	bash tests/system/neon.sh

clean:
	rm -rf build $(VENV)
