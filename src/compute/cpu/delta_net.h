// Gated DeltaNet on the CPU (Yang et al., "Gated Delta Networks", 2024), in recurrent form.
//
// A step of speculative rows never writes the state: each row leaves its inputs in the scratch, rows are walked depth
// first on copies, and what was accepted is folded into the state when the next step begins, in the same arithmetic.
#pragma once

#include "base/thread_pool.h"
#include "compute/cpu/row_kernels.h"

#include <vector>

namespace lucebox::compute::cpu {

class DeltaNet {
public:
    DeltaNet(const RowKernels& kernels, ThreadPool& pool) : kernels_(kernels), pool_(pool) {}

    void begin_step(const StepPlan& plan);
    void run(const DeltaNetArgs& args);

private:
    struct Scratch {                           // of one thread
        std::vector<std::vector<float>> states; // by depth
    };

    void reserve_states(const DeltaNetArgs& args, const PlanSequence& sequence);
    void replay(const DeltaNetArgs& args, const PlanSequence& sequence);
    void convolve(const DeltaNetArgs& args, const PlanSequence& sequence);
    void finish_inputs(const DeltaNetArgs& args, const PlanSequence& sequence);
    void recur(const DeltaNetArgs& args, const PlanSequence& sequence, std::size_t head, Scratch& scratch);
    void recur_tree(const DeltaNetArgs& args, const PlanSequence& sequence, std::size_t head, Scratch& scratch);

    const RowKernels& kernels_;
    ThreadPool& pool_;
    const StepPlan* plan_ = nullptr;
    std::vector<Scratch> scratch_;
    std::vector<float> replayed_; // one row's channels
};

} // namespace lucebox::compute::cpu
