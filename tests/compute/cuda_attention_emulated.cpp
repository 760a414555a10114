// The GPU's attention on the emulator, put to the tests of cuda_attention_test.cpp: against the CPU's plain kernels, and bit
// for bit against itself. A program of its own, because the emulator redefines what nvcc would define.
#include "cuda_emulator.h"

#include "compute/cuda/attention/attention.cu"
#include "compute/cuda/attention/flash_128.cu"
#include "compute/cuda/attention/flash_256.cu"
#include "compute/cuda/attention/flash_64.cu"
#include "compute/cuda/attention/flash_rounded_128.cu"
#include "compute/cuda/attention/flash_rounded_256.cu"
#include "compute/cuda/attention/flash_rounded_64.cu"
#include "compute/cuda/attention/prepare.cu"
#include "compute/cuda/attention/work.cpp"
#include "compute/gpu_memory.h"

#include <gtest/gtest.h>

extern "C" cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

namespace lucebox::compute::cuda {

alignas(128) thread_local unsigned char shared[256 << 10];
FlashInstance prompt_instance(std::size_t) { std::abort(); } // wgmma: never asked for here

namespace {

class HostBuffer final : public Buffer {
public:
    explicit HostBuffer(std::size_t bytes) : memory_((bytes + 127) / 128) {
        data_ = reinterpret_cast<std::byte*>(memory_.data());
        bytes_ = bytes;
    }

private:
    struct alignas(128) Line {
        std::byte bytes[128];
    };
    std::vector<Line> memory_;
};

// Attention alone, as the executor launches it.
class EmulatedGpu final : public Device {
public:
    std::string_view name() const override { return "emulated"; }
    double measure_read_rate(std::size_t) override { return 0; }
    Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes) override { return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(bytes)); }
    void upload(std::byte* to, std::span<const std::byte> from) override { std::memcpy(to, from.data(), from.size()); }
    void download(std::span<std::byte> to, const std::byte* from) override { std::memcpy(to.data(), from, to.size()); }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
    void zero(std::byte* at, std::size_t bytes) override { std::memset(at, 0, bytes); }
    KvBytes kv_bytes(const KvView& shape) const override { return attention_kv_bytes(shape); }
    void move_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from) override {
        move_attention_tokens(cache, slot, first, from, nullptr);
    }
    Status prepare(std::size_t rows, std::size_t context) override {
        rows_ = rows;
        context_ = context;
        return Ok{};
    }
    std::size_t padded_rows(std::size_t rows) const override { return gpu_padded_rows(rows); }
    void begin_step(const StepPlan& plan) override { plan_ = &plan; }
    void end_step() override { launch_descending = !launch_descending; }
    void explain(StepTimes*) override {}

    void attention(const AttentionArgs& args) override { run(args, true); }
    void store_kv(const AttentionArgs& args) override { run(args, false); }

    void run(const AttentionArgs& args, bool attend) {
        EXPECT_TRUE(attention_supports(args.cache));
        std::vector<StepRow> rows;
        std::vector<StepSequence> sequences;
        for (const PlanSequence& from : plan_->sequences) {
            StepSequence to;
            to.slot = from.slot, to.first_row = from.first_row, to.rows = from.rows, to.committed = from.committed, to.path = from.path ? 1 : 0;
            sequences.push_back(to);
        }
        for (const PlanRow& from : plan_->rows) {
            StepRow to;
            to.position = from.position, to.sequence = from.sequence, to.local = from.local, to.parent = from.parent, to.ancestors = from.ancestors;
            to.slot = plan_->sequences[static_cast<std::size_t>(from.sequence)].slot;
            rows.push_back(to);
        }
        const StepState state{static_cast<std::int32_t>(rows.size()), static_cast<std::int32_t>(sequences.size()), 0, 0, rows.data(), sequences.data(), nullptr};
        const std::size_t padded = args.q.rows, dim = args.cache.head_dim;
        std::vector<float2> turns(padded * args.rope->dimensions / 2);
        HostBuffer queries(attention_query_bytes(padded, args.heads, dim)), operand(padded * ((args.heads * dim + 127) / 128 * 128) * 2);
        std::vector<float> sums(attention_sum_bytes(padded, context_, args.heads, dim) / 4);
        std::vector<float2> maxima(attention_maximum_bytes(padded, context_, args.heads) / 8);
        AttentionCall call;
        call.args = args;
        call.rotation = {args.rope, args.rope->frequency.data(), turns.data()};
        call.scratch = {queries.data(), sums.data(), maxima.data()};
        call.state = &state;
        call.whole = rows.size() > static_cast<std::size_t>(max_tree_rows);
        const AttentionKind kind{args.window, args.heads / args.cache.kv_heads, args.bidirectional};
        call.query_tiles = call.whole ? 4 : query_tiles(*plan_, kind.group, args.cache.type == DType::q8_0);
        call.processors = 2;
        call.shared_limit = 227 << 10;
        call.pass_rows = attention_pass_rows(*plan_);
        call.many_partitions = has_many_partitions(*plan_);
        AttentionWorkList list;
        make_attention_work(*plan_, kind, call.query_tiles, attention_blocks(args.cache, call.query_tiles, call.processors, call.shared_limit), list);
        AttentionWork work;
        std::ranges::copy(list.begin, work.begin);
        work.item = list.items.data();
        call.work = &work;
        call.items = list.items.size();
        call.operand = operand.data();
        rotate_positions(call.rotation, padded, &state, nullptr);
        if (attend) cuda::attention(call, nullptr);
        else store_attention(call, nullptr);
    }

    Result<std::unique_ptr<Matrix>> load_matrix(const gguf::Tensor&) override { return Error{ErrorKind::unsupported, "attention alone"}; }
    Result<Vector> load_vector(const gguf::Tensor&) override { return Error{ErrorKind::unsupported, "attention alone"}; }
    void embed(const Matrix&, float, Tensor) override {}
    void rms_norm(Tensor, const Vector&, float, Tensor) override {}
    void add_rms_norm(Tensor, const Vector&, float, Tensor) override {}
    void project(Tensor, std::span<const Projection>) override {}
    void gated_project(Tensor, const Matrix&, const Matrix&, Activation, Tensor) override {}
    void delta_net(const DeltaNetArgs&) override {}
    void gather_outputs(Tensor, Tensor) override {}
    void store_columns(Tensor, Tensor, std::size_t) override {}
    void top_k(Tensor, std::size_t, std::int32_t*, float*) override {}
    void best_tokens(Tensor, std::int32_t*) override {}
    void summarise(Tensor, const RowQuery*, std::size_t, const std::uint64_t*, std::byte*, RowCandidate*) override {}

private:
    const StepPlan* plan_ = nullptr;
    std::size_t rows_ = 0, context_ = 0;
};

} // namespace
} // namespace lucebox::compute::cuda

#define LUCEBOX_LONG_TEXT 9'000
#define LUCEBOX_TESTED_GPU() std::unique_ptr<Device>(std::make_unique<cuda::EmulatedGpu>())
#include "cuda_attention_test.cpp"
