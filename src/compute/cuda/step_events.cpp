#include "compute/cuda/step_events.h"

#include "compute/cuda/cuda_error.h"

#include <algorithm>

namespace lucebox::compute::cuda {
namespace {

struct FamilyOf {
    std::size_t vocabulary;

    KernelFamily operator()(const EmbedOperation&) const { return KernelFamily::embedding; }
    KernelFamily operator()(const NormOperation&) const { return KernelFamily::norms; }
    KernelFamily operator()(const ProjectOperation& o) const {
        return o.targets[0].matrix->outputs() == vocabulary ? KernelFamily::head : KernelFamily::projections;
    }
    KernelFamily operator()(const GatedOperation&) const { return KernelFamily::gated_mlp; }
    KernelFamily operator()(const AttentionOperation&) const { return KernelFamily::attention; }
    KernelFamily operator()(const StoreOperation&) const { return KernelFamily::attention; }
    KernelFamily operator()(const DeltaNetOperation&) const { return KernelFamily::delta_net; }
    KernelFamily operator()(const GatherOperation&) const { return KernelFamily::other; }
    KernelFamily operator()(const ColumnsOperation&) const { return KernelFamily::other; }
    KernelFamily operator()(const TopOperation&) const { return KernelFamily::head; }
    KernelFamily operator()(const BestOperation&) const { return KernelFamily::head; }
    KernelFamily operator()(const SummaryOperation&) const { return KernelFamily::head; }
};

std::size_t weight_bytes(const Operation& operation) {
    std::size_t bytes = 0;
    if (const auto* project = std::get_if<ProjectOperation>(&operation)) {
        for (std::size_t i = 0; i < project->count; ++i) bytes += project->targets[i].matrix->bytes();
    } else if (const auto* gated = std::get_if<GatedOperation>(&operation)) {
        bytes = gated->gate->bytes() + gated->up->bytes();
    }
    return bytes;
}

} // namespace

StepEvents::~StepEvents() {
    for (const cudaEvent_t event : events_) cudaEventDestroy(event);
}

// Of several operations in one launch: the step kernel's, or the head's if its product is among them.
KernelFamily StepEvents::family_of(std::span<const Operation> operations) const {
    const auto family = [this](const Operation& operation) { return std::visit(FamilyOf{vocabulary_}, operation); };
    if (operations.size() == 1) return family(operations.front());
    const bool head = std::ranges::any_of(operations, [&](const Operation& o) { return family(o) == KernelFamily::head; });
    return head ? KernelFamily::head : KernelFamily::step_kernel;
}

void StepEvents::record() {
    const std::size_t index = launches_.size();
    if (error_ == cudaSuccess && index == events_.size()) {
        cudaEvent_t event = nullptr;
        error_ = cudaEventCreate(&event);
        if (error_ == cudaSuccess) events_.push_back(event);
    }
    if (error_ == cudaSuccess) error_ = cudaEventRecord(events_[index], stream_);
}

void StepEvents::begin() {
    launches_.clear();
    record();
}

void StepEvents::launched(std::span<const Operation> operations) {
    if (const auto* embed = std::get_if<EmbedOperation>(&operations.front())) vocabulary_ = embed->table->outputs();
    std::size_t bytes = 0;
    for (const Operation& operation : operations) bytes += weight_bytes(operation);
    launches_.push_back({family_of(operations), bytes});
    record();
}

Status StepEvents::finish(StepTimes& times) {
    if (error_ == cudaSuccess) error_ = cudaEventSynchronize(events_[launches_.size()]);
    for (std::size_t i = 0; i < launches_.size() && error_ == cudaSuccess; ++i) {
        float milliseconds = 0;
        error_ = cudaEventElapsedTime(&milliseconds, events_[i], events_[i + 1]);
        if (error_ == cudaSuccess) times.add(launches_[i].family, 1e-3 * static_cast<double>(milliseconds), launches_[i].weight_bytes);
    }
    return cuda_status(error_, "timing a step");
}

} // namespace lucebox::compute::cuda
