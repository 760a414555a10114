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
#include "compute/cuda/step_block.h"

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
    // Whether the operation can be part of a segment of a step of so many sequences.
    static bool takes(const Operation& operation, std::size_t sequences);
    // Tables and memory that segments with this operation need in steps of up to `rows` rows.
    Status plan(const Operation& operation, std::size_t rows);
    // The same for all of a program's counts, which its launches share.
    Status plan_counts(std::size_t counts);
    static std::size_t counts_of(const Operation& operation);
    // Whether planning has moved memory that launches before point to; asked once.
    bool moved() { return std::exchange(moved_, false); }
    // Before each step; number: of the last one, becomes this one's.
    Status begin_step(std::uint32_t& number);
    // Before a program's first launch.
    void begin_program();
    // What a step of these operations takes of the marks there are.
    static std::size_t marks_of(const Operation& operation);
    static constexpr std::size_t most_marks = std::size_t{1} << mark_bits;
    // Whether the operation has a product whose results are written without a record of their own.
    bool wide(const Operation& operation) const;

    int blocks() const { return blocks_; }

private:
    friend class SegmentBuilder;
    struct Deal {
        std::unique_ptr<Buffer> memory;
        std::vector<const Share*> shares; // of each product, on the device
        std::vector<const GroupParts*> groups;
        std::vector<Seats> seats;
    };
    using Products = std::vector<StepProduct>;
    struct PartsRoom {
        std::unique_ptr<Buffer> memory; // twice `bytes`: of the parts of an operation
        std::size_t bytes = 0;
    };
    struct Less {
        bool operator()(const Products& a, const Products& b) const;
    };

    StepKernel(const Card& card, Memory& memory, cudaStream_t stream)
        : memory_(memory), stream_(stream), blocks_(card.processors) {}
    Status plan_products(const Products& products);
    Status plan_parts(PartsRoom& room, std::size_t bytes);
    Status clear(const std::unique_ptr<Buffer>& buffer) const;
    Status replace(std::unique_ptr<Buffer>& buffer, std::size_t bytes);
    void launch(StepSegment& segment) const;
    std::uint32_t* take_counts(int count) const;
    std::uint32_t take_mark() const;

    Memory& memory_;
    cudaStream_t stream_;
    int blocks_, shared_room_ = 0; // bytes that a block's rings may take
    std::unique_ptr<Buffer> exchange_, counts_, saves_;
    PartsRoom parts_, marked_parts_;       // words have memory of their own: a float may look like any mark
    mutable std::uint32_t marks_used_ = 0; // of this step
    mutable std::size_t counts_used_ = 0; // by the launches of this program so far
    std::map<Products, Deal, Less> deals_;
    std::unordered_map<const CudaMatrix*, float> scales_;
    bool moved_ = false;
    mutable StepTrace trace_;
};

class SegmentBuilder {
public:
    SegmentBuilder(const StepKernel& kernel, Operands& operands, const StepBlock& block, std::size_t rows)
        : kernel_(kernel), operands_(operands), block_(block) {
        segment_.rows = static_cast<std::uint32_t>(rows);
        segment_.step = block.state();
    }
    // f32_wanted: whether somebody reads what the operation writes as f32. here_only: whether all who read it are added, too;
    // of a product whether its heads come next.
    void add(const Operation& operation, bool f32_wanted, bool here_only);
    // What can be done of a layer before the products that make its inputs are added.
    void replay(const DeltaNetOperation& operation);
    // Runs what was added.
    void launch();

private:
    struct Unfinished { // a product whose parts are not added yet
        Parts parts;
        MatmulTarget target;
        RowScale scale;
    };
    struct Made { // an operand, by a record of this launch or one before it
        RowScale scale;
        std::uint32_t* ready = nullptr; // in this launch
        std::uint32_t whole_piece = 0;
        int behind = 0; // products before it in this launch
    };

    void norm(const NormOperation& operation, bool f32_wanted, bool here_only);
    bool norm_in_finish(const NormOperation& operation);
    void project(const ProjectOperation& operation, bool heads_follow);
    void gated(const GatedOperation& operation);
    void delta_net(const DeltaNetOperation& operation, bool f32_wanted);
    HeadsRecord heads_of(const DeltaNetArgs& args) const;

    Record& append(const Record& record);
    Seats seats_of(const Record& record) const;
    std::byte* make_operand(Record& record, Tensor x, RowScale scale);
    void border();
    void settle(bool counted = false);
    void make_room(int records, int products);
    const std::byte* operand_of(Tensor x);
    Record finish(const Unfinished& product, Work work) const;
    // Records over one operand, to be appended in order. wide_results: of products with more groups than blocks, where whole sums go.
    std::vector<Record> multiply(const std::byte* operand, std::span<const CudaMatrix* const> matrices,
                                 const std::vector<StepProduct>& products, std::span<float* const> wide_results);
    RowScale scale_of(const std::byte* operand) const;

    const StepKernel& kernel_;
    Operands& operands_;
    const StepBlock& block_;
    StepSegment segment_;
    int products_ = 0, turns_ = 0; // of this launch; turns: times that parts were given room
    std::unordered_map<const std::byte*, Made> made_;
    std::unordered_map<const float*, std::uint32_t*> counted_; // results whose pieces are counted, of this launch
    const void* replayed_ = nullptr;                           // the state of the layer whose accepted rows are folded in already
    int layers_ = 0;
    int scales_ = 0; // sums of squares given room, in turns
    std::vector<Unfinished> unfinished_;
    bool by_rows_ = false;        // the last record goes by whole rows
    int norms_ = 0;               // since the last border
    const float* kept_ = nullptr; // the tensor whose row it has kept
};

} // namespace lucebox::compute::cuda
