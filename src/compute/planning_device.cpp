#include "compute/planning_device.h"

#include "compute/gpu_memory.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <cstring>

namespace lucebox::compute {
namespace {

// Nothing lies there: addresses that may be counted with, as a model does that is run for its shapes.
constexpr std::uintptr_t nowhere = std::uintptr_t{1} << 62;

class PlannedBuffer final : public Buffer {
public:
    explicit PlannedBuffer(std::size_t bytes) {
        data_ = reinterpret_cast<std::byte*>(nowhere);
        bytes_ = bytes;
    }
};

class PlannedMatrix final : public Matrix {
public:
    PlannedMatrix(const gguf::Tensor& tensor, std::uint64_t bytes) {
        inputs_ = tensor.shape[0];
        outputs_ = tensor.rows();
        bytes_ = static_cast<std::size_t>(bytes);
        type_ = tensor.type;
    }
    gguf::TensorType type() const { return type_; }

private:
    gguf::TensorType type_;
};

// Small weights are really read: rotation factors are looked at while a model is bound.
class VectorBuffer final : public Buffer {
public:
    explicit VectorBuffer(const gguf::Tensor& tensor) : values_(tensor.elements()) {
        gguf::dequantise_row(tensor.type, tensor.data, values_);
        data_ = reinterpret_cast<std::byte*>(values_.data());
        bytes_ = values_.size() * sizeof(float);
    }

private:
    std::vector<float> values_;
};

class PlanningDevice final : public Device {
public:
    explicit PlanningDevice(const Device* like) : like_(like) {}

    std::string_view name() const override { return "plan"; }
    Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes) override {
        return std::unique_ptr<Buffer>(std::make_unique<PlannedBuffer>(bytes));
    }
    void upload(std::byte*, std::span<const std::byte>) override {}
    void download(std::span<std::byte> to, const std::byte* from) override {
        if (reinterpret_cast<std::uintptr_t>(from) < nowhere) std::memcpy(to.data(), from, to.size());
        else std::ranges::fill(to, std::byte{0});
    }
    void copy(std::byte*, const std::byte*, std::size_t) override {}
    void zero(std::byte*, std::size_t) override {}

    std::uint64_t matrix_bytes(const gguf::Tensor& tensor) const override {
        if (like_) return like_->matrix_bytes(tensor);
        return gpu_aligned(tensor.data.size());
    }
    std::uint64_t prepared_bytes(const StepShapes& shapes) const override {
        StepShapes all = seen_;
        all.rows = padded_rows(shapes.rows);
        all.context = shapes.context;
        return like_ ? like_->prepared_bytes(all) : gpu_step_bytes(all);
    }
    KvBytes kv_bytes(const KvView& shape) const override {
        if (like_) return like_->kv_bytes(shape);
        const std::size_t each = shape.slots * shape.capacity * shape.kv_heads * kv_head_bytes(shape.type, shape.head_dim);
        return {each, each};
    }
    void move_tokens(const KvView&, std::size_t, std::size_t, std::span<const std::int32_t>) override {}

    Result<std::unique_ptr<Matrix>> load_matrix(const gguf::Tensor& tensor) override {
        fresh_.push_back({tensor.type, tensor.shape[0], tensor.rows()});
        return std::unique_ptr<Matrix>(std::make_unique<PlannedMatrix>(tensor, matrix_bytes(tensor)));
    }
    Result<Vector> load_vector(const gguf::Tensor& tensor) override {
        LUCEBOX_CHECK(gguf::check_dequantisable(tensor));
        Vector vector;
        vector.size = tensor.elements();
        vector.buffer = std::make_unique<VectorBuffer>(tensor);
        return vector;
    }

    Status prepare(std::size_t rows, std::size_t) override {
        for (MatrixShape& matrix : fresh_) {
            matrix.rows = rows;
            see(seen_.matrices, matrix);
        }
        fresh_.clear();
        return Ok{};
    }
    bool wants_rehearsal() const override { return true; } // attention and DeltaNet are seen when they run
    void begin_step(const StepPlan&) override {}
    void end_step() override {}
    void explain(StepTimes*) override {}
    void embed(const Matrix&, float, Tensor) override {}
    void rms_norm(Tensor, const Vector&, float, Tensor) override {}
    void add_rms_norm(Tensor, const Vector&, float, Tensor) override {}
    void project(Tensor, std::span<const Projection>) override {}
    void gated_project(Tensor, const Matrix& gate, const Matrix& up, Activation, Tensor) override {
        if (type_of(gate) != type_of(up)) seen_.joined = std::max(seen_.joined, gate.outputs());
    }
    void attention(const AttentionArgs& args) override { see(seen_.attention, {args.heads, args.cache.head_dim}); }
    void store_kv(const AttentionArgs&) override {}
    void delta_net(const DeltaNetArgs& args) override { see(seen_.delta_nets, {args.key_heads, args.value_heads, args.dim}); }
    void gather_outputs(Tensor, Tensor) override {}
    void store_columns(Tensor, Tensor, std::size_t) override {}
    void top_k(Tensor, std::size_t, std::int32_t*, float*) override {}
    void best_tokens(Tensor, std::int32_t*) override {}
    void summarise(Tensor, const RowQuery*, std::size_t, const std::uint64_t*, std::byte*, RowCandidate*) override {}
    double measure_read_rate(std::size_t) override { return 0; }
    bool supports_kv(DType type) const override { return like_ ? like_->supports_kv(type) : type != DType::f32; }
    std::size_t padded_rows(std::size_t rows) const override { return like_ ? like_->padded_rows(rows) : gpu_padded_rows(rows); }
    std::size_t prompt_rows() const override { return like_ ? like_->prompt_rows() : gpu_prompt_rows; }

private:
    static gguf::TensorType type_of(const Matrix& matrix) { return static_cast<const PlannedMatrix&>(matrix).type(); }
    template <class T> static void see(std::vector<T>& known, const T& shape) {
        if (std::ranges::find(known, shape) == known.end()) known.push_back(shape);
    }

    const Device* like_;
    StepShapes seen_;
    std::vector<MatrixShape> fresh_; // since steps were last prepared
};

} // namespace

std::unique_ptr<Device> make_planning_device(const Device* like) { return std::make_unique<PlanningDevice>(like); }

} // namespace lucebox::compute
