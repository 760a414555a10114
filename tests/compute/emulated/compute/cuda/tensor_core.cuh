// The emulator (tests/compute/cuda_emulator.h) takes this file's place.
