#include "compute/cuda/cuda_device.h"

#include "compute/cuda/card.h"
#include "compute/cuda/cuda_error.h"
#include "compute/cuda/executor.h"
#include "compute/cuda/read_rate.h"
#include "compute/cuda/step/trace.h"
#include "compute/cuda/weights.h"
#include "compute/gpu_memory.h"
#include "gguf/blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <unordered_map>

namespace lucebox::compute::cuda {
namespace {

const CudaMatrix* cast(const Matrix& matrix) { return static_cast<const LoadedMatrix&>(matrix).product(); }

class CudaDevice final : public Device {
public:
    static Result<std::unique_ptr<Device>> create(const CudaOptions& options) {
        LUCEBOX_TRY(Card card, choose_card());
        std::unique_ptr<CudaDevice> device(new CudaDevice(std::move(card), options));
        LUCEBOX_CHECK(device->open());
        return std::unique_ptr<Device>(std::move(device));
    }

    ~CudaDevice() override {
        cudaStreamSynchronize(stream_);
        loader_.reset();
        executor_.reset();
        events_.reset();
        forget_graphs();
        download_ = {};
        upload_ = {};
        if (stream_) cudaStreamDestroy(stream_);
    }

    std::string_view name() const override { return name_; }
    Status failure() const override { return failure_; }

    double measure_read_rate(std::size_t bytes) override {
        constexpr std::size_t most = std::size_t{8} << 30, least = std::size_t{1} << 30; // far beyond the caches
        const auto memory = memory_.allocate(std::clamp(bytes, least, most), true);
        if (!memory) return 0;
        return cuda::measure_read_rate((*memory)->data(), (*memory)->bytes(), stream_);
    }
    std::size_t memory_held() const override { return memory_.used(); }
    std::size_t memory_taken() const override { return memory_.taken(); }

    // What other programs hold is theirs.
    DeviceMemory memory() const override {
        std::size_t free = 0, total = 0;
        if (cudaMemGetInfo(&free, &total) != cudaSuccess) return {};
        return {total, gpu_usable_bytes(free)};
    }
    std::uint64_t matrix_bytes(const gguf::Tensor& tensor) const override {
        if (!CudaMatrix::supports(tensor.type)) return tensor.data.size(); // load_matrix() will say so
        return CudaMatrix::device_bytes(tensor.type, tensor.shape[0], tensor.rows());
    }
    std::uint64_t prepared_bytes(const StepShapes& shapes) const override { return gpu_step_bytes(shapes); }

    Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes) override {
        LUCEBOX_CHECK(finish_loading()); // its staging memory may be needed
        LUCEBOX_TRY(auto buffer, memory_.allocate(bytes));
        LUCEBOX_CHECK(cuda_status(cudaMemsetAsync(buffer->data(), 0, bytes, stream_), "clearing memory"));
        return buffer;
    }

    // What steps upload is small, and crosses by way of pinned memory while the host goes on; its blocks follow each other, and
    // when they have come to the end all are waited for.
    void upload(std::byte* to, std::span<const std::byte> from) override {
        if (from.size() <= upload_.bytes()) {
            if (from.size() > upload_.bytes() - uploaded_) {
                note(cudaStreamSynchronize(stream_), "running a step");
                uploaded_ = 0;
            }
            std::byte* const staged = upload_.data() + uploaded_;
            std::ranges::copy(from, staged);
            uploaded_ += from.size();
            note(cudaMemcpyAsync(to, staged, from.size(), cudaMemcpyHostToDevice, stream_), "copying to the GPU");
            return;
        }
        note(cudaMemcpyAsync(to, from.data(), from.size(), cudaMemcpyHostToDevice, stream_), "copying to the GPU");
        note(cudaStreamSynchronize(stream_), "copying to the GPU");
    }

    void download(std::span<std::byte> to, const std::byte* from) override {
        if (!failure_) {
            std::ranges::fill(to, std::byte{0});
            return;
        }
        if (to.size() <= download_.bytes()) { // pinned memory is faster, and what steps download is small
            note(cudaMemcpyAsync(download_.data(), from, to.size(), cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
            note(cudaStreamSynchronize(stream_), "running a step");
            std::copy_n(download_.data(), to.size(), to.data());
            return;
        }
        note(cudaMemcpyAsync(to.data(), from, to.size(), cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
        note(cudaStreamSynchronize(stream_), "running a step");
    }

    void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
        assert(to + bytes <= from || from + bytes <= to);
        note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying on the GPU");
    }
    void zero(std::byte* at, std::size_t bytes) override { note(cudaMemsetAsync(at, 0, bytes, stream_), "clearing memory"); }

    bool supports_kv(DType type) const override { return type != DType::f32; }
    KvBytes kv_bytes(const KvView& shape) const override { return attention_kv_bytes(shape); }
    void move_tokens(const KvView& cache, std::size_t slot, std::size_t first, std::span<const std::int32_t> from) override {
        move_attention_tokens(cache, slot, first, from, stream_);
        note(cudaGetLastError(), "moving cached tokens");
    }

    Result<std::unique_ptr<Matrix>> load_matrix(const gguf::Tensor& tensor) override {
        if (!loader_) loader_ = std::make_unique<WeightLoader>(memory_, card_.index, stream_);
        LUCEBOX_TRY(auto matrix, loader_->load(tensor));
        matrices_.push_back(matrix.get());
        return matrix;
    }

    Result<Vector> load_vector(const gguf::Tensor& tensor) override {
        LUCEBOX_CHECK(gguf::check_dequantisable(tensor));
        Vector vector;
        vector.size = tensor.elements();
        std::vector<float> values(vector.size);
        gguf::dequantise_row(tensor.type, tensor.data, values);
        LUCEBOX_TRY(vector.buffer, memory_.allocate(vector.size * sizeof(float)));
        LUCEBOX_CHECK(cuda_status(
            cudaMemcpy(vector.buffer->data(), values.data(), vector.size * sizeof(float), cudaMemcpyHostToDevice), "loading weights"));
        return vector;
    }

    Status prepare(std::size_t rows, std::size_t context) override {
        LUCEBOX_CHECK(finish_loading());
        std::vector<const CudaMatrix*> products;
        for (const Matrix* matrix : matrices_) products.push_back(cast(*matrix));
        LUCEBOX_CHECK(cuda_status(cudaStreamSynchronize(stream_), "preparing steps"));
        forget_graphs(); // they point into scratch memory that may move now
        if (!executor_) {
            executor_ = std::make_unique<Executor>(card_, memory_, stream_);
            if (options_.step_kernel) LUCEBOX_CHECK(executor_->use_step_kernel());
        }
        LUCEBOX_CHECK(executor_->prepare(padded_rows(rows), context, products, std::exchange(prepared_, products.size())));
        return cuda_status(cudaStreamSynchronize(stream_), "preparing steps");
    }

    bool wants_rehearsal() const override { return true; }
    std::size_t padded_rows(std::size_t rows) const override { return gpu_padded_rows(rows); }
    std::size_t prompt_rows() const override { return gpu_prompt_rows; }
    std::size_t prompt_border() const override { return gpu_prompt_rows; }

    void begin_step(const StepPlan& plan) override {
        plan_ = &plan;
        program_.clear();
        begun_ = false;
    }

    void end_step() override {
        if (!plan_->observed) run_program();
        note(cudaGetLastError(), "starting a step");
        plan_ = nullptr;
    }

    void explain(StepTimes* times) override {
        times_ = times;
        if (times_ && !events_) events_ = std::make_unique<StepEvents>(stream_);
    }

    void embed(const Matrix& table, float scale, Tensor out) override { record(EmbedOperation{cast(table), scale, out}); }

    void rms_norm(Tensor x, const Vector& weight, float epsilon, Tensor out) override {
        record(NormOperation{x, weight.data(), epsilon, out, false});
    }
    void add_rms_norm(Tensor x, const Vector& weight, float epsilon, Tensor residual) override {
        record(NormOperation{x, weight.data(), epsilon, residual, true});
    }

    void project(Tensor x, std::span<const Projection> projections) override {
        for (std::size_t first = 0; first < projections.size(); first += most_targets) {
            ProjectOperation operation{};
            operation.x = x;
            operation.count = std::min(most_targets, projections.size() - first);
            for (std::size_t i = 0; i < operation.count; ++i) {
                const Projection& from = projections[first + i];
                operation.targets[i] = {cast(*from.matrix), from.bias ? from.bias->data() : nullptr, from.out.data, from.accumulate};
            }
            record(operation);
        }
    }
    void gated_project(Tensor x, const Matrix& gate, const Matrix& up, Activation activation, Tensor out) override {
        record(GatedOperation{x, cast(gate), cast(up), activation, out});
    }
    void attention(const AttentionArgs& args) override {
        if (!attention_supports(args.cache)) {
            const bool rounded = args.cache.type == DType::q8_0;
            fail({ErrorKind::unsupported,
                  fmt::format("attention heads of {} values cannot run on the GPU{}: only multiples of {} up to 256", args.cache.head_dim,
                              rounded ? " with keys and values in q8_0" : "", rounded ? 16 : 8),
                  rounded ? "use --cache-type-k f16, or --device cpu" : "use --device cpu"});
            return;
        }
        record(AttentionOperation{args});
    }
    void delta_net(const DeltaNetArgs& args) override {
        auto* const inputs = program_.empty() ? nullptr : std::get_if<ProjectOperation>(&program_.back());
        if (inputs) put_before_heads(*inputs, args);
        record(DeltaNetOperation{args});
    }
    void store_kv(const AttentionArgs& args) override { record(StoreOperation{args}); }
    void store_columns(Tensor x, Tensor out, std::size_t first_column) override {
        record(ColumnsOperation{x, out, first_column});
    }
    void top_k(Tensor logits, std::size_t count, std::int32_t* ids, float* logprobs) override {
        record(TopOperation{logits, count, ids, logprobs});
    }
    void gather_outputs(Tensor x, Tensor out) override { record(GatherOperation{x, out}); }
    void best_tokens(Tensor logits, std::int32_t* ids) override { record(BestOperation{logits, ids}); }
    void summarise(Tensor logits, const RowQuery* queries, std::size_t count, const std::uint64_t* masks, std::byte* summaries,
                   RowCandidate* more) override {
        record(SummaryOperation{{logits, queries, count, masks, summaries, more}});
    }

private:
    CudaDevice(Card card, const CudaOptions& options)
        : card_(std::move(card)), name_(card_.describe()), options_(options), memory_(options.fail_allocation) {}

    Status open() {
        options_.step_kernel = options_.step_kernel && step_tuning("LUCEBOX_STEP_KERNEL", 1) != 0;
        LUCEBOX_CHECK(cuda_status(cudaSetDevice(card_.index), fmt::format("opening {}", name_)));
        LUCEBOX_CHECK(cuda_status(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), fmt::format("opening {}", name_)));
        LUCEBOX_TRY(download_, memory_.allocate_pinned(download_bytes));
        LUCEBOX_TRY(upload_, memory_.allocate_pinned(upload_bytes));
        return Ok{};
    }

    void forget_graphs() {
        for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
        graphs_.clear();
    }

    Status finish_loading() {
        if (!loader_) return Ok{};
        const Status status = loader_->finish();
        loader_.reset();
        return status;
    }

    // Keeps the first error.
    void fail(Error error) {
        if (failure_) failure_ = std::move(error);
    }
    void note(cudaError_t code, std::string_view purpose) {
        if (code != cudaSuccess) fail(cuda_error(code, purpose));
    }

    template <class T> void record(const T& operation) {
        if (!failure_) return;
        program_.emplace_back(operation);
        if (!plan_->observed) return;
        // Each by itself, as one that has not been seen before.
        if (const Status status = run_at_once(); !status) fail(status.error());
        program_.clear();
    }

    Status run_at_once() {
        LUCEBOX_CHECK(executor_->plan(program_));
        const bool attends = std::holds_alternative<AttentionOperation>(program_.front());
        if (!begun_ || attends) LUCEBOX_CHECK(executor_->begin(program_, *plan_, padded_rows(plan_->size())));
        begun_ = true;
        LUCEBOX_CHECK(plan_segments());
        executor_->run_observed(program_.front());
        return Ok{};
    }

    void run_program() {
        if (!failure_ || program_.empty()) return;
        if (const Status status = start_program(); !status) fail(status.error());
    }

    Status start_program() {
        LUCEBOX_CHECK(executor_->plan(program_));
        LUCEBOX_CHECK(executor_->begin(program_, *plan_, padded_rows(plan_->size())));
        if (times_) {
            LUCEBOX_CHECK(plan_segments());
            executor_->run(program_, events_.get());
            return events_->finish(*times_);
        }
        if (!options_.graphs || plan_->size() > static_cast<std::size_t>(max_tree_rows)) {
            LUCEBOX_CHECK(plan_segments());
            executor_->run(program_);
            return Ok{};
        }
        const std::uint64_t key = fingerprint(program_) ^ (executor_->shape() * 0x9e3779b97f4a7c15ull);
        auto known = graphs_.find(key);
        if (known == graphs_.end()) {
            LUCEBOX_CHECK(plan_segments());
            LUCEBOX_TRY(cudaGraphExec_t graph, capture());
            known = graphs_.emplace(key, graph).first;
        }
        return cuda_status(cudaGraphLaunch(known->second, stream_), "starting a step");
    }

    Status plan_segments() {
        LUCEBOX_TRY(const bool moved, executor_->plan_segments(program_));
        if (moved) forget_graphs();
        return Ok{};
    }

    Result<cudaGraphExec_t> capture() {
        LUCEBOX_CHECK(cuda_status(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a step"));
        executor_->run(program_);
        cudaGraph_t graph = nullptr;
        const Status ended = cuda_status(cudaStreamEndCapture(stream_, &graph), "recording a step");
        if (!ended) return ended.error();
        cudaGraphExec_t executable = nullptr;
        const Status made = cuda_status(cudaGraphInstantiate(&executable, graph, 0), "recording a step");
        cudaGraphDestroy(graph);
        if (!made) return made.error();
        return executable;
    }

    static constexpr std::size_t download_bytes = std::size_t{4} << 20;
    static constexpr std::size_t upload_bytes = std::size_t{4} << 20; // masks of 64 rows over 262,144 tokens are half of it

    Card card_;
    std::string name_;
    CudaOptions options_;
    Memory memory_;
    cudaStream_t stream_ = nullptr;
    PinnedMemory download_, upload_;
    std::size_t uploaded_ = 0; // bytes of upload_ that may still be on their way
    std::unique_ptr<WeightLoader> loader_;
    std::vector<const Matrix*> matrices_;
    std::size_t prepared_ = 0; // of those, when steps were last prepared
    std::unique_ptr<Executor> executor_;
    std::unique_ptr<StepEvents> events_; // of steps that are explained
    StepTimes* times_ = nullptr;         // where they are counted; none: steps run as they do
    Status failure_ = Ok{};

    const StepPlan* plan_ = nullptr;
    Program program_;
    bool begun_ = false; // of an observed step
    std::unordered_map<std::uint64_t, cudaGraphExec_t> graphs_;
};

} // namespace

Result<std::string> usable_card() {
    LUCEBOX_TRY(const Card card, choose_card());
    return card.describe();
}

Result<std::unique_ptr<Device>> make_device(const CudaOptions& options) { return CudaDevice::create(options); }

} // namespace lucebox::compute::cuda
