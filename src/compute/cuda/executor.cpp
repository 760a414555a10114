#include "compute/cuda/executor.h"

#include "compute/cuda/cuda_error.h"
#include "compute/cuda/delta_net/delta_net.h"
#include "compute/cuda/rows.h"
#include "compute/gpu_memory.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <utility>

namespace lucebox::compute::cuda {
namespace {

// Bytes of what an operation reads or writes in operand form.
struct OperandBytes {
    std::size_t operator()(const NormOperation& o) const { return operand_bytes(o.out.rows, o.out.width); }
    std::size_t operator()(const ProjectOperation& o) const { return operand_bytes(o.x.rows, o.x.width); }
    std::size_t operator()(const GatedOperation& o) const { return operand_bytes(o.x.rows, std::max(o.x.width, o.out.width)); }
    std::size_t operator()(const AttentionOperation& o) const { return operand_bytes(o.args.q.rows, o.args.out.width); }
    std::size_t operator()(const DeltaNetOperation& o) const { return operand_bytes(o.args.qkv.rows, o.args.out.width); }
    template <class Other>
    std::size_t operator()(const Other&) const { return 0; }
};

// Of an operation that the step kernel takes, or that may come between.
std::size_t rows_of(const Operation& operation) {
    if (const auto* norm = std::get_if<NormOperation>(&operation)) return norm->x.rows;
    if (const auto* project = std::get_if<ProjectOperation>(&operation)) return project->x.rows;
    if (const auto* layer = std::get_if<DeltaNetOperation>(&operation)) return layer->args.qkv.rows;
    if (const auto* columns = std::get_if<ColumnsOperation>(&operation)) return columns->x.rows;
    return std::get<GatedOperation>(operation).x.rows;
}

} // namespace

Status Executor::use_step_kernel() {
    LUCEBOX_TRY(step_kernel_, StepKernel::create(card_, memory_, stream_));
    return Ok{};
}

Result<bool> Executor::plan_segments(const Program& program) {
    const bool moved = std::exchange(moved_, false);
    if (!step_kernel_) return moved;
    std::size_t counts = 0, marks = 0;
    for (const Operation& operation : program) {
        if (!in_segment(operation)) continue;
        LUCEBOX_CHECK(step_kernel_->plan(operation, std::min<std::size_t>(rows_, max_tree_rows)));
        counts += StepKernel::counts_of(operation);
        marks += StepKernel::marks_of(operation);
    }
    if (marks > StepKernel::most_marks) return Error{ErrorKind::unsupported, "the model has too many layers for the GPU", "use --device cpu"};
    LUCEBOX_CHECK(step_kernel_->plan_counts(counts));
    return step_kernel_->moved() || moved;
}

Status Executor::need(std::unique_ptr<Buffer>& buffer, std::size_t bytes) {
    if (buffer && buffer->bytes() >= bytes) return Ok{};
    moved_ = moved_ || buffer;
    buffer.reset();
    constexpr std::size_t large = std::size_t{16} << 20; // what is replaced by a larger one must not stay in its slab
    LUCEBOX_TRY(buffer, memory_.allocate(bytes, bytes >= large));
    return cuda_status(cudaMemsetAsync(buffer->data(), 0, buffer->bytes(), stream_), "clearing scratch memory");
}

Status Executor::prepare(std::size_t rows, std::size_t context, std::span<const CudaMatrix* const> matrices, std::size_t known) {
    const bool grown = rows > rows_;
    std::size_t widest = 1; // no activation is wider than some matrix's input
    for (const CudaMatrix* matrix : matrices.subspan(known < matrices.size() ? known : 0)) widest = std::max(widest, matrix->inputs());
    LUCEBOX_CHECK(need_operands(operand_bytes(rows, widest)));
    rows_ = rows = std::max(rows, rows_);
    context_ = context = std::max(context, context_);
    LUCEBOX_CHECK(need(workspace_, matmul_workspace_bytes({}, rows)));
    LUCEBOX_CHECK(need(best_workspace_, best_tokens_workspace_bytes(max_tree_rows)));
    LUCEBOX_CHECK(need(summary_workspace_, summary_workspace_bytes(max_tree_rows)));
    if (grown) {
        LUCEBOX_TRY(auto block, StepBlock::create(memory_, rows));
        block_ = std::make_unique<StepBlock>(std::move(block));
        rotations_.clear();
    }
    if (step_kernel_) LUCEBOX_CHECK(step_kernel_->prepare(matrices));
    prompt_attention_ = prompt_attention_runs(card_.shared_limit);
    return cuda_status(prepare_attention_kernels(card_.shared_limit), "preparing kernels");
}

Status Executor::need_operands(std::size_t bytes) {
    if (bytes <= operand_room_) return Ok{};
    const std::size_t room = gpu_aligned(bytes);
    LUCEBOX_CHECK(need(operand_memory_, room * Operands::slots));
    operand_room_ = room;
    operands_.lie_in(operand_memory_->data(), room);
    return Ok{};
}

Status Executor::plan_attention(const AttentionArgs& args) {
    const std::size_t dim = args.cache.head_dim;
    LUCEBOX_CHECK(need(queries_, attention_query_bytes(rows_, args.heads, dim)));
    LUCEBOX_CHECK(need(sums_, attention_sum_bytes(rows_, context_, args.heads, dim)));
    LUCEBOX_CHECK(need(maxima_, attention_maximum_bytes(rows_, context_, args.heads)));
    return plan_rotation(args);
}

Status Executor::plan_rotation(const AttentionArgs& args) {
    if (std::ranges::any_of(rotations_, [&](const Rotation& known) { return known.table.rope == args.rope; })) return Ok{};
    const std::size_t pairs = args.rope->dimensions / 2;
    Rotation rotation;
    LUCEBOX_TRY(rotation.frequency, memory_.allocate(std::max<std::size_t>(pairs, 1) * sizeof(double)));
    LUCEBOX_TRY(rotation.values, memory_.allocate(std::max<std::size_t>(pairs, 1) * rows_ * sizeof(float2)));
    LUCEBOX_CHECK(cuda_status(cudaMemcpyAsync(rotation.frequency->data(), args.rope->frequency.data(), pairs * sizeof(double),
                                              cudaMemcpyHostToDevice, stream_),
                              "sending rotation frequencies"));
    rotation.table = {args.rope, reinterpret_cast<const double*>(rotation.frequency->data()),
                      reinterpret_cast<float2*>(rotation.values->data())};
    rotations_.push_back(std::move(rotation));
    return Ok{};
}

Status Executor::plan(const Program& program) {
    for (const Operation& operation : program) {
        LUCEBOX_CHECK(need_operands(std::visit(OperandBytes{}, operation)));
        if (const auto* attention = std::get_if<AttentionOperation>(&operation)) {
            LUCEBOX_CHECK(plan_attention(attention->args));
        } else if (const auto* store = std::get_if<StoreOperation>(&operation)) {
            LUCEBOX_CHECK(plan_rotation(store->args));
        } else if (const auto* gated = std::get_if<GatedOperation>(&operation)) {
            const CudaMatrix* const both[] = {gated->gate, gated->up};
            LUCEBOX_CHECK(need(workspace_, matmul_workspace_bytes(both, rows_)));
        } else if (const auto* top = std::get_if<TopOperation>(&operation)) {
            LUCEBOX_CHECK(need(top_workspace_, top_k_workspace_bytes(max_tree_rows, top->logits.width)));
        } else if (const auto* delta = std::get_if<DeltaNetOperation>(&operation)) {
            const DeltaNetArgs& args = delta->args;
            if (!delta_net_supports(args.dim, args.conv_width)) {
                return Error{ErrorKind::unsupported, "the GPU's DeltaNet kernels take heads of up to 128, multiples of 16, and a "
                                                     "convolution of up to 4 taps",
                             "use --device cpu"};
            }
            LUCEBOX_CHECK(need(delta_workspace_,
                               delta_net_workspace_bytes(rows_, StepBlock::most_sequences, args.key_heads,
                                                                              args.value_heads, args.dim)));
        }
    }
    return Ok{};
}

std::size_t Executor::kind_of(const AttentionArgs& args) const {
    const AttentionKind kind{args.window, args.heads / args.cache.kv_heads, args.bidirectional};
    return static_cast<std::size_t>(std::ranges::find(kinds_, kind) - kinds_.begin());
}

Status Executor::begin(const Program& program, const StepPlan& plan, std::size_t padded_rows) {
    kinds_.clear();
    std::vector<const KvView*> caches; // of the first layer of each kind
    query_tiles_ = 1;
    pass_rows_ = attention_pass_rows(plan);
    many_partitions_ = has_many_partitions(plan);
    whole_ = plan.size() > static_cast<std::size_t>(max_tree_rows);
    std::size_t deltas = 0;
    const bool prompt = whole_ && prompt_attention_ && only_paths(plan) && std::ranges::all_of(program, [](const Operation& operation) {
        const auto* attention = std::get_if<AttentionOperation>(&operation);
        return !attention || prompt_attention_takes(attention->args.cache);
    });
    for (const Operation& operation : program) {
        if (std::holds_alternative<DeltaNetOperation>(operation)) ++deltas;
        const auto* attention = std::get_if<AttentionOperation>(&operation);
        if (!attention || kind_of(attention->args) < kinds_.size()) continue;
        const AttentionArgs& args = attention->args;
        kinds_.push_back({args.window, args.heads / args.cache.kv_heads, args.bidirectional});
        caches.push_back(&args.cache);
        query_tiles_ = std::max(query_tiles_, whole_ ? (prompt ? prompt_query_tiles : 4) : query_tiles(plan, kinds_.back().group, args.cache.type == DType::q8_0));
    }
    if (whole_ && plan.sequences.size() > 1 && deltas > 0) {
        return Error{ErrorKind::internal, "a step of more than 64 rows holds several sequences"};
    }
    if (kinds_.size() > StepBlock::most_kinds) {
        return Error{ErrorKind::unsupported, "the model has too many kinds of attention for the GPU", "use --device cpu"};
    }
    work_.resize(StepBlock::most_kinds);
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
        const std::size_t blocks = whole_ ? 1 : attention_blocks(*caches[i], query_tiles_, card_.processors, card_.shared_limit);
        make_attention_work(plan, kinds_[i], query_tiles_, blocks, work_[i]);
    }
    sequences_ = std::bit_ceil(plan.sequences.size());
    step_rows_ = padded_rows;
    for (Rotation& rotation : rotations_) rotation.done = false;
    operands_.forget_all();
    if (step_kernel_) LUCEBOX_CHECK(step_kernel_->begin_step(step_number_));
    return block_->upload(plan, padded_rows, std::span<const AttentionWorkList>(work_).first(kinds_.size()), step_number_, stream_);
}

std::uint64_t Executor::shape() const {
    return (static_cast<std::uint64_t>(sequences_) << 32) + (static_cast<std::uint64_t>(pass_rows_) << 16) + static_cast<std::uint64_t>(query_tiles_) * 4 +
           (many_partitions_ ? 2 : 0) + (whole_ ? 1 : 0);
}

void Executor::run(const Program& program, StepEvents* events) {
    program_ = &program;
    if (step_kernel_) step_kernel_->begin_program();
    if (events) events->begin();
    for (index_ = 0; index_ < program.size();) {
        const std::size_t first = index_;
        if (in_segment(program[index_])) {
            run_segment(program);
        } else {
            std::visit([this](const auto& operation) { execute(operation); }, program[index_]);
            ++index_;
        }
        if (events) events->launched(std::span(program).subspan(first, index_ - first));
    }
    program_ = nullptr;
}

void Executor::run_observed(const Operation& operation) {
    program_ = nullptr;
    if (in_segment(operation)) {
        step_kernel_->begin_program();
        SegmentBuilder builder(*step_kernel_, operands_, *block_, rows_of(operation));
        builder.add(operation, true, false);
        builder.launch();
        return;
    }
    std::visit([this](const auto& known) { execute(known); }, operation);
}

bool Executor::in_segment(const Operation& operation) const { return step_kernel_ && !whole_ && StepKernel::takes(operation, sequences_); }

// The operations from index_ on that the step kernel takes, as one run. Columns that are kept in between for a draft are copied
// between two launches, and change nothing else: results are the same to the bit with a draft and without.
void Executor::run_segment(const Program& program) {
    const std::size_t rows = rows_of(program[index_]);
    const auto columns_at = [&](std::size_t index) { return std::get_if<ColumnsOperation>(&program[index]); };
    std::size_t end = index_;
    while (end < program.size() && (in_segment(program[end]) || (columns_at(end) && end > index_)) && rows_of(program[end]) == rows) ++end;
    SegmentBuilder builder(*step_kernel_, operands_, *block_, rows);
    const ColumnsOperation* waiting = nullptr;
    const auto copy_columns = [&] {
        if (!waiting) return;
        builder.launch();
        execute(*std::exchange(waiting, nullptr));
    };
    for (; index_ < end; ++index_) {
        const auto* norm = std::get_if<NormOperation>(&program[index_]);
        // The norm that reads the same is part of the finish of what made it, and so comes first.
        const bool same_reader = waiting && norm && !norm->add && norm->x.data == waiting->x.data;
        if (!same_reader) copy_columns();
        if (const ColumnsOperation* columns = columns_at(index_)) {
            waiting = columns;
            continue;
        }
        const auto* layer = std::get_if<DeltaNetOperation>(&program[index_]);
        const auto* next = index_ + 1 < end ? std::get_if<DeltaNetOperation>(&program[index_ + 1]) : nullptr;
        if (next) builder.replay(*next); // while the products' input is made
        const auto* inputs = std::get_if<ProjectOperation>(&program[index_]);
        const bool here_only = norm ? !multiplied_behind(program, index_, end, norm->out.data) && !read_by_wide(program, end, norm->out.data)
                                    : inputs && inputs->heads > 0 && next;
        builder.add(program[index_], (norm && wanted(norm->out.data)) || (layer && wanted(layer->args.out.data)), here_only);
        if (same_reader) copy_columns();
    }
    copy_columns();
    builder.launch();
}

// Whether an operation behind this one, before `end`, multiplies x by a matrix whose sums are not all finished by a record.
bool Executor::read_by_wide(const Program& program, std::size_t end, const float* x) const {
    return std::ranges::any_of(std::span(program).subspan(index_ + 1, end - index_ - 1), [&](const Operation& reader) {
        const auto* project = std::get_if<ProjectOperation>(&reader);
        return project && project->x.data == x && step_kernel_->wide(reader);
    });
}

// The tensor in operand form: as its producer left it, or converted now.
std::byte* Executor::operand_of(Tensor x) {
    if (std::byte* known = operands_.find(x)) return known;
    std::byte* const data = operands_.claim(x);
    to_operand(x.data, x.rows, x.width, data, stream_);
    return data;
}

const RotationTable& Executor::rotation_for(const Rope* rope) {
    Rotation& rotation = *std::ranges::find_if(rotations_, [&](const Rotation& known) { return known.table.rope == rope; });
    if (!rotation.done) rotate_positions(rotation.table, step_rows_, block_->state(), stream_);
    rotation.done = true;
    return rotation.table;
}

void Executor::execute(const EmbedOperation& o) {
    written(o.out.data);
    o.table->embed(&block_->rows()->token, sizeof(StepRow), o.out.rows, o.scale, o.out.data, stream_);
}

void Executor::execute(const NormOperation& o) {
    NormCall call{block_->state(), o.x, o.weight, o.epsilon, o.out.data, nullptr, o.add};
    if (o.add) {
        written(o.out.data);
    } else {
        call.operand = claim_operand(o.out);
        if (!wanted(o.out.data)) call.out = nullptr;
    }
    rms_norm(call, stream_);
}

void Executor::execute(const ProjectOperation& o) {
    const std::byte* const operand = operand_of(o.x);
    for (std::size_t i = 0; i < o.count; ++i) written(o.targets[i].out);
    matmul(operand, o.x.rows, std::span(o.targets).first(o.count), workspace_->data(), stream_);
}

void Executor::execute(const GatedOperation& o) {
    const std::byte* const operand = operand_of(o.x);
    gated_matmul(operand, o.x.rows, *o.gate, *o.up, o.activation, claim_operand(o.out), workspace_->data(), stream_);
}

void Executor::execute(const AttentionOperation& o) {
    AttentionCall call;
    call.args = o.args;
    call.rotation = rotation_for(o.args.rope);
    call.scratch = {queries_->data(), reinterpret_cast<float*>(sums_->data()), reinterpret_cast<float2*>(maxima_->data())};
    call.state = block_->state();
    const std::size_t kind = kind_of(o.args);
    call.work = block_->work(kind);
    call.query_tiles = query_tiles_;
    call.whole = whole_;
    call.pass_rows = pass_rows_;
    call.many_partitions = many_partitions_;
    call.items = work_[kind].items.size();
    call.processors = card_.processors;
    call.shared_limit = card_.shared_limit;
    call.operand = claim_operand(o.args.out);
    call.write_out = wanted(o.args.out.data);
    attention(call, stream_);
}

void Executor::execute(const StoreOperation& o) {
    AttentionCall call;
    call.args = o.args;
    call.rotation = rotation_for(o.args.rope);
    call.state = block_->state();
    store_attention(call, stream_);
}

void Executor::execute(const DeltaNetOperation& o) {
    DeltaNetLaunch launch;
    launch.step = block_->state();
    launch.sequence = block_->sequences();
    launch.row = block_->rows();
    launch.sequences = sequences_;
    launch.rows = o.args.qkv.rows;
    launch.operand = claim_operand(o.args.out);
    launch.operand_rows = o.args.out.rows;
    launch.write_out = wanted(o.args.out.data);
    launch.workspace = delta_workspace_->data();
    launch.stream = stream_;
    delta_net(o.args, launch);
}

void Executor::execute(const GatherOperation& o) {
    written(o.out.data);
    gather_outputs(block_->state(), o.x, o.out, stream_);
}

void Executor::execute(const ColumnsOperation& o) {
    written(o.out.data);
    store_columns(o.x, o.out, o.first_column, stream_);
}

void Executor::execute(const TopOperation& o) {
    top_k(o.logits, o.count, top_workspace_->data(), o.ids, o.logprobs, stream_);
}

void Executor::execute(const BestOperation& o) { best_tokens(o.logits, best_workspace_->data(), o.ids, stream_); }

void Executor::execute(const SummaryOperation& o) { summarise(o.call, summary_workspace_->data(), stream_); }

} // namespace lucebox::compute::cuda
