#include "compute/cpu/cpu_device.h"

#include "base/thread_pool.h"
#include "compute/cpu/attention.h"
#include "compute/cpu/delta_net.h"
#include "compute/cpu/packed_matrix.h"
#include "compute/cpu/read_rate.h"
#include "compute/cpu/row_kernels.h"
#include "compute/cpu/summarise.h"
#include "compute/cpu/top_k.h"
#include "compute/step_times.h"
#include "gguf/blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <unistd.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace lucebox::compute::cpu {
namespace {

constexpr std::size_t alignment = 64, huge_page = 2u << 20;

class CpuBuffer final : public Buffer {
public:
    static Result<std::unique_ptr<Buffer>> create(std::size_t bytes, ThreadPool& pool) {
        auto buffer = std::make_unique<CpuBuffer>();
        if (bytes > 0) {
            buffer->alignment_ = std::align_val_t{bytes >= huge_page ? huge_page : alignment};
            buffer->data_ = static_cast<std::byte*>(::operator new(bytes, buffer->alignment_, std::nothrow));
            if (!buffer->data_) {
                return Error{ErrorKind::out_of_memory, fmt::format("{} bytes of memory were refused by the system", bytes),
                             "use a smaller --context or fewer --sequences"};
            }
#ifdef __linux__
            // A hint, so that walking the cache of a long text doesn't miss the TLB with every head of every few tokens.
            if (bytes >= huge_page) madvise(buffer->data_, bytes / huge_page * huge_page, MADV_HUGEPAGE);
#endif
            // All of it is touched, so that memory that isn't there is missed now and not in the middle of a text; by all
            // threads, because the first touch of a page costs more than its zeros.
            std::byte* const data = buffer->data_;
            pool.run(bytes, huge_page, [&](std::size_t begin, std::size_t end, std::size_t) { std::memset(data + begin, 0, end - begin); });
        }
        buffer->bytes_ = bytes;
        return std::unique_ptr<Buffer>(std::move(buffer));
    }
    ~CpuBuffer() override { ::operator delete(data_, alignment_); }

private:
    std::align_val_t alignment_{alignment};
};

// A weight as the file has it (for embedding rows and the reference product), with its packed form for the fast one.
class CpuMatrix final : public Matrix {
public:
    CpuMatrix(const gguf::Tensor& tensor, std::unique_ptr<PackedMatrix> packed) : tensor_(tensor), packed_(std::move(packed)) {
        inputs_ = tensor.shape[0];
        outputs_ = tensor.rows();
        bytes_ = packed_ ? packed_->bytes() : tensor.data.size();
    }
    const PackedMatrix* packed() const { return packed_.get(); }

    void row(std::size_t output, std::span<float> out) const {
        const std::size_t bytes = tensor_.row_bytes();
        gguf::dequantise_row(tensor_.type, tensor_.data.subspan(output * bytes, bytes), out);
    }

private:
    const gguf::Tensor& tensor_;
    std::unique_ptr<PackedMatrix> packed_;
};

const CpuMatrix& cast(const Matrix& matrix) { return static_cast<const CpuMatrix&>(matrix); }

// Counts the time from here to the end of its scope, if anybody wants to know.
class Lap {
public:
    Lap(StepTimes* times, KernelFamily family, std::size_t weight_bytes = 0) : times_(times), family_(family), weight_bytes_(weight_bytes) {
        if (times_) start_ = Clock::now();
    }
    ~Lap() {
        if (times_) times_->add(family_, std::chrono::duration<double>(Clock::now() - start_).count(), weight_bytes_);
    }
    Lap(const Lap&) = delete;
    Lap& operator=(const Lap&) = delete;

private:
    using Clock = std::chrono::steady_clock;

    StepTimes* times_;
    KernelFamily family_;
    std::size_t weight_bytes_;
    Clock::time_point start_;
};

class CpuDevice final : public Device {
public:
    explicit CpuDevice(const CpuOptions& options)
        : reference_(options.reference), isa_(best_isa()),
          kernels_(options.reference ? reference_kernels() : row_kernels(isa_)), pool_(options.threads),
          attention_(kernels_, pool_), delta_net_(kernels_, pool_),
          name_(fmt::format("CPU, {} {}, {}", pool_.size(), pool_.size() == 1 ? "thread" : "threads", reference_ ? "reference" : isa_name(isa_))) {}

    std::string_view name() const override { return name_; }

    double measure_read_rate(std::size_t bytes) override { return cpu::measure_read_rate(bytes, pool_); }

    Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes) override { return CpuBuffer::create(bytes, pool_); }
    void upload(std::byte* to, std::span<const std::byte> from) override { std::memcpy(to, from.data(), from.size()); }
    void download(std::span<std::byte> to, const std::byte* from) override { std::memcpy(to.data(), from, to.size()); }
    void copy(std::byte* to, const std::byte* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
    void zero(std::byte* at, std::size_t bytes) override { std::memset(at, 0, bytes); }

    // All of the machine's: what other programs use now may be gone when it is needed, and swapped out until then.
    DeviceMemory memory() const override {
        const auto bytes =
            static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGE_SIZE));
        return {bytes, bytes};
    }

    KvBytes kv_bytes(const KvView& shape) const override { return Attention::bytes(shape); }
    void move_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from) override {
        Attention::move_tokens(cache, slot, first, from);
    }

    Result<std::unique_ptr<Matrix>> load_matrix(const gguf::Tensor& tensor) override {
        LUCEBOX_CHECK(gguf::check_dequantisable(tensor));
        max_inputs_ = std::max<std::size_t>(max_inputs_, tensor.shape[0]);
        return std::unique_ptr<Matrix>(
            std::make_unique<CpuMatrix>(tensor, reference_ ? nullptr : PackedMatrix::pack(tensor, isa_, &pool_)));
    }

    Result<Vector> load_vector(const gguf::Tensor& tensor) override {
        LUCEBOX_CHECK(gguf::check_dequantisable(tensor));
        Vector vector;
        vector.size = tensor.elements();
        LUCEBOX_TRY(vector.buffer, allocate(vector.size * sizeof(float)));
        const std::span<float> out(reinterpret_cast<float*>(vector.buffer->data()), vector.size);
        gguf::dequantise_row(tensor.type, tensor.data, out);
        return vector;
    }

    Status prepare(std::size_t rows, std::size_t) override {
        prepared_rows_ = std::max(prepared_rows_, rows);
        LUCEBOX_TRY(quantised_, allocate(prepared_rows_ * quantised_row_bytes(max_inputs_)));
        thread_rows_.assign(pool_.size(), std::vector<float>(max_inputs_));
        return Ok{};
    }

    void begin_step(const StepPlan& plan) override {
        plan_ = &plan;
        attention_.begin_step(plan);
        delta_net_.begin_step(plan);
    }
    void end_step() override { plan_ = nullptr; }
    void explain(StepTimes* times) override { times_ = times; }

    void embed(const Matrix& table, float scale, Tensor out) override {
        const Lap lap(times_, KernelFamily::embedding);
        vocabulary_ = table.outputs();
        for_rows(out.rows, [&](std::size_t row, std::size_t) {
            float* at = out.data + row * out.width;
            cast(table).row(static_cast<std::size_t>(plan_->rows[row].token), {at, out.width});
            if (scale != 1) kernels_.scale(scale, out.width, at);
        });
    }

    void rms_norm(Tensor x, const Vector& weight, float epsilon, Tensor out) override {
        const Lap lap(times_, KernelFamily::norms);
        for_rows(x.rows, [&](std::size_t row, std::size_t) {
            kernels_.rms_norm(x.data + row * x.width, weight.data(), epsilon, x.width, out.data + row * out.width);
        });
    }

    void add_rms_norm(Tensor x, const Vector& weight, float epsilon, Tensor residual) override {
        const Lap lap(times_, KernelFamily::norms);
        for_rows(x.rows, [&](std::size_t row, std::size_t) {
            float* at = x.data + row * x.width;
            kernels_.rms_norm(at, weight.data(), epsilon, x.width, at);
            kernels_.add(at, x.width, residual.data + row * residual.width);
        });
    }

    void project(Tensor x, std::span<const Projection> projections) override {
        std::size_t groups = 0, bytes = 0;
        for (const Projection& p : projections) groups += output_groups(*p.matrix), bytes += p.matrix->bytes();
        const bool head = projections.front().matrix->outputs() == vocabulary_;
        const Lap lap(times_, head ? KernelFamily::head : KernelFamily::projections, bytes);
        const Input input = prepare_input(x);
        pool_.run(groups, grain(groups), [&](std::size_t begin, std::size_t end, std::size_t thread) {
            for (const Projection& p : projections) {
                const std::size_t here = output_groups(*p.matrix);
                if (begin < here) {
                    const std::size_t first = begin * group_, last = std::min(std::min(end, here) * group_, p.matrix->outputs());
                    multiply(*p.matrix, input, first, last, p.out, p.accumulate, thread);
                    if (p.bias) add_bias(*p.bias, first, last, p.out);
                }
                begin -= std::min(begin, here);
                end -= std::min(end, here);
                if (end == 0) return;
            }
        });
    }

    void gated_project(Tensor x, const Matrix& gate, const Matrix& up, Activation activation, Tensor out) override {
        const Lap lap(times_, KernelFamily::gated_mlp, gate.bytes() + up.bytes());
        const Input input = prepare_input(x);
        const std::size_t groups = output_groups(gate);
        pool_.run(groups, grain(groups), [&](std::size_t begin, std::size_t end, std::size_t thread) {
            // The up half of a few outputs fits on the stack; rows are taken in slices so that it does for any step.
            constexpr std::size_t rows_at_once = 24, outputs_at_once = 64; // 24: a multiple of the kernels' tiles
            alignas(alignment) float up_values[rows_at_once * outputs_at_once];
            for (std::size_t first = begin * group_; first < std::min(end * group_, gate.outputs()); first += outputs_at_once) {
                const std::size_t last = std::min({first + outputs_at_once, end * group_, gate.outputs()});
                for (std::size_t row = 0; row < x.rows; row += rows_at_once) {
                    const std::size_t rows = std::min(rows_at_once, x.rows - row);
                    const Input part = input.rows_from(row, rows);
                    const Tensor part_out{out.data + row * out.width, rows, out.width};
                    multiply(gate, part, first, last, part_out, false, thread);
                    // multiply() writes output o at column o: shift the base so that column `first` is the buffer's start.
                    // It lies outside of the buffer, where addresses may be computed but pointers may not.
                    const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(up_values) - first * sizeof(float);
                    auto* const shifted = reinterpret_cast<float*>(base); // NOLINT(performance-no-int-to-ptr)
                    multiply(up, part, first, last, {shifted, rows, outputs_at_once}, false, thread);
                    for (std::size_t r = 0; r < rows; ++r) {
                        kernels_.gate(activation, up_values + r * outputs_at_once, last - first,
                                      part_out.data + r * out.width + first);
                    }
                }
            }
        });
    }

    void attention(const AttentionArgs& args) override {
        const Lap lap(times_, KernelFamily::attention);
        attention_.run(args);
    }
    void store_kv(const AttentionArgs& args) override {
        const Lap lap(times_, KernelFamily::attention);
        attention_.store(args);
    }
    void delta_net(const DeltaNetArgs& args) override {
        const Lap lap(times_, KernelFamily::delta_net);
        delta_net_.run(args);
    }

    void gather_outputs(Tensor x, Tensor out) override {
        const Lap lap(times_, KernelFamily::other);
        for (std::size_t i = 0; i < plan_->outputs.size(); ++i) {
            std::memcpy(out.data + i * out.width, x.data + static_cast<std::size_t>(plan_->outputs[i]) * x.width,
                        x.width * sizeof(float));
        }
    }

    void store_columns(Tensor x, Tensor out, std::size_t first_column) override {
        const Lap lap(times_, KernelFamily::other);
        for (std::size_t row = 0; row < x.rows; ++row) {
            std::memcpy(out.data + row * out.width + first_column, x.data + row * x.width, x.width * sizeof(float));
        }
    }

    void top_k(Tensor logits, std::size_t count, std::int32_t* ids, float* logprobs) override {
        const Lap lap(times_, KernelFamily::head);
        pool_.run(logits.rows, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t row = begin; row < end; ++row) {
                top_of_row({logits.data + row * logits.width, logits.width}, kernels_, {ids + row * count, count},
                           {logprobs + row * count, count});
            }
        });
    }

    void best_tokens(Tensor logits, std::int32_t* ids) override {
        const Lap lap(times_, KernelFamily::head);
        for_rows(logits.rows, [&](std::size_t row, std::size_t) {
            const float* at = logits.data + row * logits.width;
            float best = -std::numeric_limits<float>::infinity();
            std::int32_t id = 0;
            for (std::size_t i = 0; i < logits.width; ++i) {
                if (at[i] > best) best = at[i], id = static_cast<std::int32_t>(i);
            }
            ids[row] = id;
        });
    }

    void summarise(Tensor logits, const RowQuery* queries, std::size_t count, const std::uint64_t* masks, std::byte* summaries,
                   RowCandidate* more) override {
        const Lap lap(times_, KernelFamily::head);
        if (summary_scratch_.empty()) summary_scratch_.resize(pool_.size());
        for (SummaryScratch& scratch : summary_scratch_) scratch.take(logits.width);
        pool_.run(count, 1, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            for (std::size_t i = begin; i < end; ++i) {
                if (queries[i].row < 0) continue;
                const auto row = static_cast<std::size_t>(queries[i].row);
                const std::span<const std::uint64_t> mask(masks + row * mask_words(logits.width), mask_words(logits.width));
                summarise_row({logits.data + row * logits.width, logits.width}, queries[i], mask, summaries + row * RowSummary::bytes(logits.width),
                              more + row * (RowSummary::room - RowSummary::near), summary_scratch_[thread]);
            }
        });
    }

private:
    static constexpr std::size_t group_ = PackedMatrix::output_group;

    // The rows of one multiplication, plain and (where a matrix wants them so) quantised.
    struct Input {
        Tensor x;
        const std::byte* quantised = nullptr;
        std::size_t stride = 0;

        Input rows_from(std::size_t first, std::size_t rows) const {
            return {{x.data + first * x.width, rows, x.width}, quantised + first * stride, stride};
        }
    };

    static std::size_t output_groups(const Matrix& matrix) { return (matrix.outputs() + group_ - 1) / group_; }

    // Small enough that threads finish together, large enough that taking a range costs nothing; even, because kernels take
    // the rows of a large step through two groups at a time.
    std::size_t grain(std::size_t groups) const { return std::max<std::size_t>(2, (groups / (pool_.size() * 8) + 1) / 2 * 2); }

    template <class Function> void for_rows(std::size_t rows, Function function) {
        pool_.run(rows, 4, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            for (std::size_t row = begin; row < end; ++row) function(row, thread);
        });
    }

    Input prepare_input(Tensor x) {
        Input input{x, quantised_->data(), quantised_row_bytes(x.width)};
        if (!reference_ && x.width % 32 == 0) {
            for_rows(x.rows, [&](std::size_t row, std::size_t) {
                quantise_row({x.data + row * x.width, x.width}, quantised_->data() + row * input.stride, isa_);
            });
        }
        return input;
    }

    void multiply(const Matrix& matrix, const Input& input, std::size_t begin, std::size_t end, Tensor out, bool accumulate,
                  std::size_t thread) {
        const CpuMatrix& m = cast(matrix);
        if (const PackedMatrix* packed = m.packed()) {
            const bool quantised = packed->takes_quantised();
            packed->multiply(quantised ? input.quantised : reinterpret_cast<const std::byte*>(input.x.data),
                             quantised ? input.stride : input.x.width * sizeof(float), input.x.rows, begin, end, out.data,
                             out.width, accumulate);
            return;
        }
        const std::span<float> weights(thread_rows_[thread].data(), m.inputs());
        for (std::size_t output = begin; output < end; ++output) {
            m.row(output, weights);
            for (std::size_t row = 0; row < input.x.rows; ++row) {
                const float* x = input.x.data + row * input.x.width;
                double sum = 0;
                for (std::size_t i = 0; i < weights.size(); ++i) sum += double{weights[i]} * x[i];
                float& y = out.data[row * out.width + output];
                y = (accumulate ? y : 0) + static_cast<float>(sum);
            }
        }
    }

    static void add_bias(const Vector& bias, std::size_t begin, std::size_t end, Tensor out) {
        for (std::size_t row = 0; row < out.rows; ++row) {
            for (std::size_t output = begin; output < end; ++output) out.data[row * out.width + output] += bias.data()[output];
        }
    }

    bool reference_;
    Isa isa_;
    const RowKernels& kernels_;
    ThreadPool pool_;
    Attention attention_;
    DeltaNet delta_net_;
    std::string name_;
    const StepPlan* plan_ = nullptr;
    StepTimes* times_ = nullptr; // where steps are counted; none: they are not
    std::size_t vocabulary_ = 0; // outputs of the head: rows of the table that was embedded from
    std::size_t max_inputs_ = 0, prepared_rows_ = 0;
    std::unique_ptr<Buffer> quantised_;
    std::vector<std::vector<float>> thread_rows_;
    std::vector<SummaryScratch> summary_scratch_; // of the threads
};

} // namespace

std::unique_ptr<Device> make_device(const CpuOptions& options) { return std::make_unique<CpuDevice>(options); }

} // namespace lucebox::compute::cpu
