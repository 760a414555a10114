# What a newcomer types. Each target says what it does and ends with a line one can act on.
PRESET ?= release
BUILD  := build/$(PRESET)
JOBS   ?= $(shell nproc)

.PHONY: help packages build serve test bench fuzz format clean

help:
	@echo "make serve   build, fetch the default model once, and serve it on 127.0.0.1:8080"
	@echo "make test    build and run all tests"
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

test: build
	@echo "==> running the tests"
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure

clean:
	rm -rf build
