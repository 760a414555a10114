# What a newcomer types. Each target says what it does and ends with a line one can act on.
PRESET ?= release
BUILD  := build/$(PRESET)
JOBS   ?= $(shell nproc)

.PHONY: help packages build build-program models serve test bench clean

help:
	@echo "make serve   build, fetch the default model once, and serve it on 127.0.0.1:8080"
	@echo "make test    build and run all tests"
	@echo "make models  fetch the models that tests and benchmarks use, once (335 MB)"
	@echo "make bench   measure prefill and decode of the default model"
	@echo "make build   build into $(BUILD) (PRESET=release|debug|asan|tsan)"
	@echo "make clean   delete build/"

packages:
	@tools/install-packages.sh

build: packages
	@echo "==> configuring and building ($(PRESET), $(JOBS) jobs)"
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS)

build-program: packages
	@echo "==> building the program ($(PRESET), $(JOBS) jobs)"
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS) --target lucebox

serve: build-program
	@exec $(BUILD)/lucebox serve $(ARGS)

# Without network the tests that need these say so and are skipped.
models: build-program
	@echo "==> models for the tests (kept in the cache; LUCEBOX_MODELS names folders to look in first)"
	@$(BUILD)/lucebox models fetch smollm2-135m-instruct gemma-3-270m || \
	  echo "==> not all models are here: the tests that need them will be skipped"

bench: build-program
	@exec $(BUILD)/lucebox bench $(ARGS)

test: build models
	@echo "==> running the tests"
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure

clean:
	rm -rf build
