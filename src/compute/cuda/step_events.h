// Where the time of a step goes on the card: an event in front of its first launch, and one behind each. For
// Device::explain() alone: a step that is looked at so is no graph, waits for its end, and takes a little longer.
#pragma once

#include "base/result.h"
#include "compute/cuda/program.h"
#include "compute/step_times.h"

#include <cuda_runtime_api.h>
#include <span>
#include <vector>

namespace lucebox::compute::cuda {

class StepEvents {
public:
    explicit StepEvents(cudaStream_t stream) : stream_(stream) {}
    ~StepEvents();
    StepEvents(const StepEvents&) = delete;
    StepEvents& operator=(const StepEvents&) = delete;

    void begin();
    // Behind what these operations became: one family's launches.
    void launched(std::span<const Operation> operations);
    // Waits for the last launch, and adds what each took.
    Status finish(StepTimes& times);

private:
    struct Launch {
        KernelFamily family;
        std::size_t weight_bytes;
    };

    KernelFamily family_of(std::span<const Operation> operations) const;
    void record();

    cudaStream_t stream_;
    std::vector<cudaEvent_t> events_; // kept from step to step; launches_.size() + 1 of them are recorded
    std::vector<Launch> launches_;
    std::size_t vocabulary_ = 0; // outputs of the head: rows of the table that was embedded from
    cudaError_t error_ = cudaSuccess; // the first
};

} // namespace lucebox::compute::cuda
