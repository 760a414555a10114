# What a newcomer types. Each target says what it does and ends with a line one can act on.
PRESET ?= release
BUILD  := build/$(PRESET)
JOBS   ?= $(shell nproc)

.PHONY: help packages build test clean

help:
	@echo "make build   build into $(BUILD) (PRESET=release|debug|asan|tsan)"
	@echo "make test    build and run all tests"
	@echo "make clean   delete build/"

packages:
	@tools/install-packages.sh

build: packages
	@echo "==> configuring and building ($(PRESET), $(JOBS) jobs)"
	@cmake --preset $(PRESET) >/dev/null
	@cmake --build $(BUILD) -j $(JOBS)

test: build
	@echo "==> running the tests"
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure

clean:
	rm -rf build
