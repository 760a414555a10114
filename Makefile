# What a newcomer types. Each target says what it does and ends with a line one can act on.
PRESET ?= release
BUILD   = build/$(PRESET)
JOBS   ?= $(shell nproc)

.PHONY: help packages packages-for-tests build build-program models serve test test-quick test-all test-speculation bench fuzz tidy format clean cuda

help:
	@echo "make serve       build, fetch the default model once, and serve it on 127.0.0.1:8080"
	@echo "make test        build and run all tests, then parsers and server under sanitizers, with fuzzers for a minute each"
	@echo "make test-quick  only the tests of the release build"
	@echo "make test-all    all that, and what runs on several threads under the thread sanitizer"
	@echo "make test-speculation   prove speculation exact on the default model, at length (hours)"
	@echo "make build       build into $(BUILD) (PRESET=release|debug|asan|tsan)"
	@echo "make bench       measure this machine's speed with the default model, and the matrix kernels"
	@echo "make fuzz        run the fuzzers (SECONDS_EACH=600 TARGETS=\"gguf http\")"
	@echo "make tidy        clang-tidy over the files changed since main (ALL=1: all files)"
	@echo "make format      clang-format over the lines changed since main"
	@echo "make models      fetch the models that tests and benchmarks use, once (335 MB)"
	@echo "make cuda        build for all NVIDIA GPUs into build/cuda (PRESET=cuda-dev: for Hopper alone)"
	@echo "make clean       delete build/"

packages:
	@tools/install-packages.sh

packages-for-tests:
	@tools/install-packages.sh tests

build: packages
	@tools/build.sh $(PRESET) $(JOBS)

build-program: packages
	@tools/build.sh $(PRESET) $(JOBS) lucebox

serve: build-program
	@exec $(BUILD)/lucebox serve $(ARGS)

# Without network the tests that need these say so and are skipped.
models: build-program
	@echo "==> models for the tests (kept in the cache; LUCEBOX_MODELS names folders to look in first)"
	@$(BUILD)/lucebox models fetch smollm2-135m-instruct gemma-3-270m || \
	  echo "==> not all models are here: the tests that need them will be skipped"

test: packages-for-tests models
	@tools/run-tests.sh $(JOBS) release asan fuzz

test-quick: packages-for-tests models
	@tools/run-tests.sh $(JOBS) release

test-all: packages-for-tests models
	@tools/run-tests.sh $(JOBS) release asan fuzz tsan

bench: build-program
	@tools/build.sh $(PRESET) $(JOBS) bench_matmul bench_template
	@echo "==> the default model"
	@$(BUILD)/lucebox bench $(ARGS)
	@echo "==> matrix kernels"
	@$(BUILD)/bench/bench_matmul
	@echo "==> hostile chat templates"
	@$(BUILD)/bench/bench_template

fuzz: packages-for-tests
	@tools/build.sh asan $(JOBS) fuzzers
	@tools/run-fuzzers.sh $(or $(SECONDS_EACH),600) $(JOBS) $(TARGETS)

tidy: packages-for-tests
	@cmake --preset asan -B build/tidy -DCMAKE_UNITY_BUILD=OFF >/dev/null # for the compiler's options of each file
	@tools/changed-sources.sh $(ALL) | xargs -r -n 1 -P $(JOBS) clang-tidy -p build/tidy --quiet
	@echo "==> clang-tidy has nothing to say"

format: packages-for-tests
	@git clang-format --force --extensions cpp,h,cu,cuh main || true # exits with 1 when it changed something
	@git diff --stat

cuda: PRESET := $(if $(filter cuda%,$(PRESET)),$(PRESET),cuda)
cuda: packages
	@command -v nvcc >/dev/null || { echo "error: nvcc (CUDA 12.8 or newer) is not on the PATH"; exit 69; }
	@echo "==> building with CUDA ($(PRESET), $(JOBS) jobs)"
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target lucebox
	@echo "==> done: $(BUILD)/lucebox bench --device cuda (cmake --build $(BUILD) builds the tests, too)"

# Every shape of speculation against plain decoding, at length, alone and four users at once. Takes many hours.
test-speculation: build models
	@echo "==> 200 prompts of 512 tokens with ten shapes of speculation, alone and four at once (LUCEBOX_TEST_DEVICE=cuda: on a GPU)"
	@$(BUILD)/tests/test_engine --gtest_also_run_disabled_tests --gtest_filter='*AtLength*'

clean:
	rm -rf build
