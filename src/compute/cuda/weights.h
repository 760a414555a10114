// Loads weight matrices: file -> pinned memory -> GPU -> repacked, all at once.
//
// Reader threads copy pieces of a tensor out of the file's mapping into pinned memory and queue the transfer to a staging ring on
// the GPU; whoever brings a tensor's last piece queues its repacking. load() returns while that goes on, and waits only
// where the ring is full. finish() waits for the rest, and returns the first error of any reader.
#pragma once

#include "compute/cuda/matmul/matmul.h"
#include "compute/cuda/memory.h"

#include <condition_variable>
#include <cuda_runtime_api.h>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace lucebox::compute::cuda {

// A matrix's memory, and what multiplies it once that is filled. Shared with the readers: a model whose loading fails is
// dropped while they work.
struct Weight {
    std::unique_ptr<Buffer> memory;
    std::unique_ptr<CudaMatrix> product;
};

class LoadedMatrix final : public Matrix {
public:
    LoadedMatrix(const gguf::Tensor& tensor, std::shared_ptr<Weight> weight) : weight_(std::move(weight)) {
        inputs_ = tensor.shape[0];
        outputs_ = tensor.rows();
        bytes_ = weight_->memory->bytes();
    }
    const CudaMatrix* product() const { return weight_->product.get(); } // once finish() has returned

private:
    std::shared_ptr<Weight> weight_;
};

class WeightLoader {
public:
    WeightLoader(Memory& memory, int device, cudaStream_t stream) : memory_(memory), device_(device), stream_(stream) {}
    WeightLoader(const WeightLoader&) = delete;
    WeightLoader& operator=(const WeightLoader&) = delete;
    ~WeightLoader();

    Result<std::unique_ptr<Matrix>> load(const gguf::Tensor& tensor);
    Status finish(); // also gives staging memory and threads back

private:
    struct Job {
        const gguf::Tensor* tensor;
        std::shared_ptr<Weight> weight;
        std::size_t staging, bytes; // in the ring
        std::size_t taken = 0, sent = 0; // bytes
        bool repacked = false;
    };
    struct Slot {
        PinnedMemory memory;
        cudaEvent_t sent = nullptr;
    };
    struct Reader {
        Slot slots[2];
        std::thread thread;
    };

    Status start();
    Status reserve(std::size_t bytes, std::size_t& offset, std::unique_lock<std::mutex>& lock);
    Status wait_for_all(std::unique_lock<std::mutex>& lock);
    void read(Reader& reader);
    Status send(Job& job, std::size_t offset, std::size_t bytes, Slot& slot);
    void stop();

    Memory& memory_;
    int device_;
    cudaStream_t stream_;
    std::vector<std::unique_ptr<Reader>> readers_;
    std::unique_ptr<Buffer> ring_;
    std::size_t cursor_ = 0;

    std::mutex mutex_; // guards what follows
    std::condition_variable work_, progress_;
    std::deque<std::unique_ptr<Job>> jobs_; // in order; repacked ones are dropped from the front
    Status status_ = Ok{};
    bool stopping_ = false;
};

} // namespace lucebox::compute::cuda
