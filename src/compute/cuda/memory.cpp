#include "compute/cuda/memory.h"

#include "compute/cuda/cuda_error.h"
#include "compute/gpu_memory.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::compute::cuda {
namespace {

constexpr std::size_t largest_slab = std::size_t{1} << 30;
constexpr std::size_t smallest_slab = std::size_t{32} << 20;

// A slab is a small part of what is free, so that what is left unused at its end does not matter.
std::size_t slab_size(std::size_t bytes) {
    std::size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) return bytes;
    return std::max(bytes, std::clamp(free / 32, smallest_slab, largest_slab));
}

Error refusal(std::size_t bytes, cudaError_t code) {
    if (code != cudaErrorMemoryAllocation) return cuda_error(code, "taking GPU memory");
    cudaGetLastError(); // running out of memory is not a fault of the device
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    return {ErrorKind::out_of_memory,
            fmt::format("{} MB of GPU memory are needed, and {} of {} MB are free", bytes >> 20, free >> 20, total >> 20),
            "use a smaller --context, a smaller quantisation, or end what else uses the GPU"};
}

} // namespace

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

PinnedMemory::~PinnedMemory() {
    if (data_) cudaFreeHost(data_);
}

struct Memory::Slab {
    std::byte* data = nullptr;
    std::size_t bytes = 0, filled = 0; // filled: to where room was given
    std::size_t taken = 0;             // by buffers that are there

    Slab() = default;
    Slab(const Slab&) = delete;
    Slab& operator=(const Slab&) = delete;
    ~Slab() {
        if (data) cudaFree(data);
    }
};

class Memory::SlabBuffer final : public Buffer {
public:
    SlabBuffer(std::shared_ptr<Slab> slab, std::size_t offset, std::size_t bytes) : slab_(std::move(slab)) {
        data_ = slab_->data + offset;
        bytes_ = bytes;
        slab_->taken += gpu_aligned(bytes);
    }
    ~SlabBuffer() override { slab_->taken -= gpu_aligned(bytes_); }

private:
    std::shared_ptr<Slab> slab_;
};

Result<std::shared_ptr<Memory::Slab>> Memory::new_slab(std::size_t bytes) {
    auto slab = std::make_shared<Slab>();
    void* data = nullptr;
    if (const cudaError_t code = cudaMalloc(&data, bytes); code != cudaSuccess) return refusal(bytes, code);
    slab->data = static_cast<std::byte*>(data);
    slab->bytes = bytes;
    return slab;
}

Result<std::unique_ptr<Buffer>> Memory::allocate(std::size_t bytes, bool alone) {
    if (refused()) return refusal(bytes, cudaErrorMemoryAllocation);
    const std::size_t size = gpu_aligned(std::max<std::size_t>(bytes, 1));
    std::erase_if(slabs_, [](const auto& slab) { return slab.expired(); });
    if (alone) {
        LUCEBOX_TRY(auto slab, new_slab(size));
        slab->filled = size;
        slabs_.push_back(slab);
        return std::unique_ptr<Buffer>(std::make_unique<SlabBuffer>(std::move(slab), 0, bytes));
    }
    for (const auto& weak : slabs_) {
        const auto slab = weak.lock();
        if (slab->bytes - slab->filled < size) continue;
        slab->filled += size;
        return std::unique_ptr<Buffer>(std::make_unique<SlabBuffer>(slab, slab->filled - size, bytes));
    }
    auto slab = new_slab(slab_size(size));
    if (!slab) slab = new_slab(size); // what is left may be less than a slab, and enough
    if (!slab) return slab.error();
    (*slab)->filled = size;
    slabs_.push_back(*slab);
    return std::unique_ptr<Buffer>(std::make_unique<SlabBuffer>(*slab, 0, bytes));
}

std::size_t Memory::used() const {
    std::size_t bytes = 0;
    for (const auto& weak : slabs_) {
        if (const auto slab = weak.lock()) bytes += slab->bytes;
    }
    return bytes;
}

std::size_t Memory::taken() const {
    std::size_t bytes = 0;
    for (const auto& weak : slabs_) {
        if (const auto slab = weak.lock()) bytes += slab->taken;
    }
    return bytes;
}

Result<PinnedMemory> Memory::allocate_pinned(std::size_t bytes) {
    if (refused()) {
        return Error{ErrorKind::out_of_memory, fmt::format("{} MB of pinned memory were refused by the system", bytes >> 20)};
    }
    PinnedMemory memory;
    void* data = nullptr;
    if (const cudaError_t code = cudaMallocHost(&data, bytes); code != cudaSuccess) {
        cudaGetLastError();
        return cuda_error(code, fmt::format("pinning {} MB of memory", bytes >> 20));
    }
    memory.data_ = static_cast<std::byte*>(data);
    memory.bytes_ = bytes;
    return memory;
}

} // namespace lucebox::compute::cuda
