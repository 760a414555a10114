// Memory of the GPU and pinned memory of the host. The one file whose implementation calls cudaMalloc and cudaFree.
//
// Device memory comes from large slabs, filled from the front; a slab goes back when the last of its buffers does. That
// keeps the number of driver calls small (a model has a thousand tensors), and suits memory that lives as long as a model.
// Used by the thread that drives the device.
#pragma once

#include "base/result.h"
#include "compute/device.h"

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace lucebox::compute::cuda {

class PinnedMemory {
public:
    PinnedMemory() = default;
    PinnedMemory(PinnedMemory&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }
    PinnedMemory& operator=(PinnedMemory&& other) noexcept;
    ~PinnedMemory();

    std::byte* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

private:
    friend class Memory;
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

class Memory {
public:
    // fail_at: the how-manieth allocation is refused, for tests; 0: none.
    explicit Memory(std::size_t fail_at = 0) : fail_at_(fail_at) {}

    // Not zeroed. `alone`: in a slab of its own, so that it goes back at once when dropped.
    Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes, bool alone = false);
    Result<PinnedMemory> allocate_pinned(std::size_t bytes);

    std::size_t used() const; // bytes of slabs
    std::size_t taken() const; // of those, bytes of buffers
    std::size_t allocations() const { return count_; }

private:
    struct Slab;
    class SlabBuffer;

    Result<std::shared_ptr<Slab>> new_slab(std::size_t bytes);
    bool refused() { return ++count_ == fail_at_; }

    std::vector<std::weak_ptr<Slab>> slabs_;
    std::size_t count_ = 0, fail_at_ = 0;
};

} // namespace lucebox::compute::cuda
