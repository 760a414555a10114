// Norms and products of a step as launches of the step kernel.
//
// StepKernel is what does not change from step to step: the kernel's instances, how each group of matrices is dealt
// out, the memory for parts of sums. SegmentBuilder turns one run of operations into records and launches them.
#pragma once

#include "compute/cuda/card.h"
#include "compute/cuda/memory.h"
#include "compute/cuda/operands.h"
#include "compute/cuda/program.h"
#include "compute/cuda/step/plan.h"
#include "compute/cuda/step/trace.h"

#include <map>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lucebox::compute::cuda {

class StepKernel {
public:
    // None if the card, or this build, has no step kernel.
    static Result<std::unique_ptr<StepKernel>> create(const Card& card, Memory& memory, cudaStream_t stream);

    // Once all matrices are loaded and repacked.
    Status prepare(std::span<const CudaMatrix* const> matrices);
    // Whether the operation can be part of a segment.
    static bool takes(const Operation& operation);
    // Tables and memory that segments with this operation need in steps of up to `rows` rows.
    Status plan(const Operation& operation, std::size_t rows);
    // Whether planning has moved memory that launches before point to; asked once.
    bool moved() { return std::exchange(moved_, false); }

    int blocks() const { return blocks_; }

private:
    friend class SegmentBuilder;
    struct Deal {
        std::unique_ptr<Buffer> memory;
        std::vector<const Share*> shares; // of each product, on the device
        std::vector<const GroupParts*> groups;
    };
    using Products = std::vector<StepProduct>;
    struct Less {
        bool operator()(const Products& a, const Products& b) const;
    };

    StepKernel(const Card& card, Memory& memory, cudaStream_t stream)
        : memory_(memory), stream_(stream), blocks_(card.processors) {}
    Status plan_products(const Products& products);
    Status plan_parts(std::size_t bytes);
    void launch(StepSegment& segment) const;

    Memory& memory_;
    cudaStream_t stream_;
    int blocks_, shared_room_ = 0; // bytes that a block's rings may take
    std::unique_ptr<Buffer> exchange_, parts_;
    std::map<Products, Deal, Less> deals_;
    std::unordered_map<const CudaMatrix*, float> scales_;
    bool moved_ = false;
    mutable StepTrace trace_;
};

class SegmentBuilder {
public:
    SegmentBuilder(const StepKernel& kernel, Operands& operands, std::size_t rows)
        : kernel_(kernel), operands_(operands) {
        segment_.rows = static_cast<std::uint32_t>(rows);
    }
    // f32_wanted: whether somebody reads what the operation writes as f32.
    void add(const Operation& operation, bool f32_wanted);
    // Runs what was added.
    void launch();

private:
    struct Unfinished { // a product whose parts are not added yet
        Parts parts;
        MatmulTarget target;
    };

    void norm(const NormOperation& operation, bool f32_wanted);
    void project(const ProjectOperation& operation);
    void gated(const GatedOperation& operation);

    Record& append(const Record& record);
    void border();
    void settle();
    void make_room(int records, int products, int groups);
    const std::byte* operand_of(Tensor x);
    Record finish(const Unfinished& product, Work work) const;
    // Between two borders, over one operand. bases: where first parts go; none: memory of its own.
    std::vector<Parts> multiply(const std::byte* operand, std::span<const CudaMatrix* const> matrices,
                                std::span<float* const> bases);

    const StepKernel& kernel_;
    Operands& operands_;
    StepSegment segment_;
    int products_ = 0, groups_ = 0;
    std::vector<Unfinished> unfinished_;
    bool by_rows_ = false;        // the last record goes row by row
    int norms_ = 0;               // since the last border
    const float* kept_ = nullptr; // the tensor whose row it has kept
};

} // namespace lucebox::compute::cuda
