// Turns a recorded step into kernels on a stream, and owns the scratch memory they need between each other.
#pragma once

#include "compute/cuda/attention/attention.h"
#include "compute/cuda/card.h"
#include "compute/cuda/memory.h"
#include "compute/cuda/operands.h"
#include "compute/cuda/program.h"
#include "compute/cuda/step/segment.h"
#include "compute/cuda/step_block.h"
#include "compute/cuda/step_events.h"

#include <memory>
#include <vector>

namespace lucebox::compute::cuda {

class Executor {
public:
    Executor(const Card& card, Memory& memory, cudaStream_t stream) : card_(card), memory_(memory), stream_(stream) {}

    // Norms and products of steps that have few rows go through the step kernel, if the card has it. Before prepare().
    Status use_step_kernel();
    // Room for steps of `rows` rows over `context` tokens, of these matrices. Again: for the larger of each number; but the steps of
    // matrices that have come since (behind the first `known`) have this many rows, and those of the others as many as before.
    Status prepare(std::size_t rows, std::size_t context, std::span<const CudaMatrix* const> matrices, std::size_t known);

    // What a program needs beyond that is taken when it is first seen; nothing if it was seen before.
    Status plan(const Program& program);
    // The same, before a program is run that was not captured. True if earlier launches must not be replayed: what they
    // point to has moved.
    Result<bool> plan_segments(const Program& program);
    // Sends the step's plan, with attention cut into work.
    Status begin(const Program& program, const StepPlan& plan, std::size_t padded_rows);
    // Describes, beside the program, what decides which kernels are launched how.
    std::uint64_t shape() const;
    void run(const Program& program, StepEvents* events = nullptr);
    // One operation, at once: everything is written in f32, too.
    void run_observed(const Operation& operation);

private:
    struct Rotation {
        RotationTable table;
        std::unique_ptr<Buffer> frequency, values;
        bool done = false; // in this step
    };

    std::byte* operand_of(Tensor x);
    std::byte* claim_operand(Tensor out) { return operands_.claim(out); }
    void written(const float* data) { operands_.written(data); }
    bool in_segment(const Operation& operation) const;
    void run_segment(const Program& program);
    bool read_by_wide(const Program& program, std::size_t end, const float* x) const;
    const RotationTable& rotation_for(const Rope* rope);
    Status need(std::unique_ptr<Buffer>& buffer, std::size_t bytes);
    Status need_operands(std::size_t bytes); // of one
    Status plan_attention(const AttentionArgs& args);
    Status plan_rotation(const AttentionArgs& args);
    std::size_t kind_of(const AttentionArgs& args) const;
    bool wanted(const float* data) const { return !program_ || read_later(*program_, index_, data); }

    void execute(const EmbedOperation& operation);
    void execute(const NormOperation& operation);
    void execute(const ProjectOperation& operation);
    void execute(const GatedOperation& operation);
    void execute(const AttentionOperation& operation);
    void execute(const StoreOperation& operation);
    void execute(const DeltaNetOperation& operation);
    void execute(const GatherOperation& operation);
    void execute(const ColumnsOperation& operation);
    void execute(const TopOperation& operation);
    void execute(const BestOperation& operation);
    void execute(const SummaryOperation& operation);

    const Card& card_;
    Memory& memory_;
    cudaStream_t stream_;
    std::size_t rows_ = 0, context_ = 0, operand_room_ = 0;
    std::unique_ptr<StepBlock> block_;
    std::unique_ptr<Buffer> operand_memory_, workspace_, delta_workspace_, best_workspace_, top_workspace_, summary_workspace_, queries_, sums_, maxima_;
    Operands operands_;
    bool moved_ = false; // some scratch memory that launches point to
    std::unique_ptr<StepKernel> step_kernel_; // none: each product by itself
    std::vector<Rotation> rotations_;
    std::vector<AttentionKind> kinds_; // of this step
    std::vector<AttentionWorkList> work_; // of each kind
    int query_tiles_ = 1;
    std::size_t pass_rows_ = max_tree_rows; // of attention
    bool many_partitions_ = false;
    bool whole_ = false, prompt_attention_ = false; // of this step: of more than max_tree_rows rows; of this card: prompt.cuh runs
    std::size_t sequences_ = 1, step_rows_ = 0;
    std::uint32_t step_number_ = 0; // its marks begin with it

    const Program* program_ = nullptr; // that runs; none: observed
    std::size_t index_ = 0;
};

} // namespace lucebox::compute::cuda
