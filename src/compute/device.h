// The operations a language model is made of, fused at the grain a layer needs. Each has one contract, here; a plain
// CPU version that is the oracle (compute/cpu/reference), a fast CPU version, and a CUDA version.
//
// Shapes: activations are f32, row-major, [rows, width]; `rows` is the number of rows of the step unless said otherwise.
// Row independence: what an operation writes for one row is bit for bit the same whatever the other rows are. Every
// reduction runs in an order fixed by the model's shapes and by absolute positions, never by the number of rows.
//
// One thread drives a device. Operations between begin_step() and end_step() run in order; a device may queue them, and
// download() waits. Nothing here allocates after loading: callers own all buffers.
#pragma once

#include "base/result.h"
#include "compute/step_plan.h"
#include "gguf/model_file.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace lucebox::compute {

// Of cached keys and values. q8_0: blocks of 32 along a head, each an f16 scale (the largest value / 127) and 32 integers of
// 8 bits; rounded once, when a token is written.
enum class DType : std::uint8_t { f32, f16, q8_0 };
constexpr std::string_view dtype_name(DType type) { return type == DType::f32 ? "f32" : type == DType::f16 ? "f16" : "q8_0"; }

inline constexpr std::size_t kv_block = 32; // values of q8_0 that share a scale
constexpr std::size_t kv_blocks(std::size_t head_dim) { return (head_dim + kv_block - 1) / kv_block; }
// Of one token's key or value in one head, without padding.
constexpr std::size_t kv_head_bytes(DType type, std::size_t head_dim) {
    return type == DType::q8_0 ? head_dim + 2 * kv_blocks(head_dim) : head_dim * (type == DType::f32 ? 4 : 2);
}

// A view of device memory: x [rows, width] f32.
struct Tensor {
    float* data = nullptr;
    std::size_t rows = 0;
    std::size_t width = 0;

    Tensor first(std::size_t count) const { return {data, count, width}; }
};

// Owned device memory.
class Buffer {
public:
    virtual ~Buffer() = default;
    std::byte* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }

protected:
    std::byte* data_ = nullptr;
    std::size_t bytes_ = 0;
};

// A weight matrix W [outputs, inputs] in whatever form the device multiplies best; made by Device::load_matrix.
class Matrix {
public:
    virtual ~Matrix() = default;
    std::size_t inputs() const { return inputs_; }
    std::size_t outputs() const { return outputs_; }
    std::size_t bytes() const { return bytes_; } // read by one multiplication

protected:
    std::size_t inputs_ = 0, outputs_ = 0, bytes_ = 0;
};

// A small f32 weight in device memory: norms, biases, convolution taps.
struct Vector {
    std::unique_ptr<Buffer> buffer;
    std::size_t size = 0;
    const float* data() const { return reinterpret_cast<const float*>(buffer->data()); }
};

inline constexpr std::size_t max_top_k = 16; // a draft's tree never looks further down the list

// What a sampler asks of a row of logits, so that the row need not leave the device. See Device::summarise.
struct RowQuery {
    std::int32_t row = -1;                                 // of the logits; -1: nothing is asked
    std::int32_t masked = 0;                               // 1: only the tokens of the row's mask count
    float temperature = 0;                                 // 0: the best token is all that is asked for
    float floor = -std::numeric_limits<float>::infinity(); // what lies further below the best one does not count
    std::uint32_t count = 0;                               // candidates asked for: so many of the best,
    float share = 0;                                       // or the best that have this share of the mass; neither: none, but masses
};
struct RowCandidate {
    float logit = 0;
    std::int32_t token = 0;
};
struct RowSummary {
    static constexpr std::size_t near = 64, room = 4096; // candidates in the summary itself, and with those elsewhere
    static constexpr std::size_t mass_block = 1024;      // logits that share a mass

    float best = 0; // minus infinity: no token counts. Unless it is finite, nothing else holds
    std::int32_t best_token = 0;
    std::uint32_t found = 0; // candidates; beyond `room` they are not all kept
    std::uint32_t unused = 0;
    RowCandidate candidate[near]; // in no order
    // Behind it: f64 masses, one for each block of the row.

    static constexpr std::size_t masses(std::size_t width) { return (width + mass_block - 1) / mass_block; }
    static constexpr std::size_t bytes(std::size_t width) { return sizeof(RowSummary) + masses(width) * sizeof(double); }
};
// Words of 64 tokens in a row's mask: bit `token % 64` of word `token / 64` is set if the token may come.
constexpr std::size_t mask_words(std::size_t width) { return (width + 63) / 64; }

enum class Activation : std::uint8_t { silu, gelu_tanh };

// Rotation of the first `dimensions` values of a head by position * frequency[pair].
struct Rope {
    std::size_t dimensions = 0;
    bool adjacent_pairs = false;    // pairs (2i, 2i+1) as in Llama files; else (i, i + dimensions/2)
    std::vector<double> frequency;  // dimensions/2 values
    double magnitude = 1;           // multiplies sine and cosine (YaRN)
};

// One layer's K and V of all slots. How tokens lie in the bytes is the device's own affair: Device::kv_bytes says how
// many it needs, Device::move_tokens moves them.
struct KvView {
    std::byte* k = nullptr;
    std::byte* v = nullptr;
    DType type = DType::f32;
    std::size_t slots = 0;
    std::size_t capacity = 0; // tokens a slot holds, the rows of a step included
    std::size_t kv_heads = 0, head_dim = 0;
};
struct KvBytes {
    std::size_t k = 0, v = 0;
};

// One DeltaNet layer's state of all slots; key and value heads have the same `dim`. `scratch` keeps each row's raw inputs
// of the last step (channels, alpha, beta), so that accepted rows can be folded into the state later. How a head's state
// lies in its dim * dim floats is the device's own affair.
struct RecurrentView {
    float* state = nullptr;   // [slots, value_heads, dim * dim]
    float* conv = nullptr;    // [slots, conv_width - 1, channels], oldest first
    float* scratch = nullptr; // [slots, max_tree_rows, scratch_width]

    // A row's raw inputs: channels, alpha, beta, in whole 16 bytes, so that they can be loaded at once.
    static constexpr std::size_t scratch_width(std::size_t channels, std::size_t value_heads) {
        return (channels + 2 * value_heads + 3) / 4 * 4;
    }
};

struct Projection {
    const Matrix* matrix = nullptr;
    const Vector* bias = nullptr; // [outputs], or none
    Tensor out;                   // [rows, outputs]
    bool accumulate = false;      // out += W x instead of out = W x
};

struct AttentionArgs {
    Tensor q;                       // [rows, heads * head_dim], or [rows, heads * 2 * head_dim] if gated: query, gate per head
    Tensor k, v;                    // [rows, kv_heads * head_dim]
    std::size_t heads = 0;          // kv_heads and head_dim are the cache's
    const Vector* q_norm = nullptr; // [head_dim], applied before rotation, or none
    const Vector* k_norm = nullptr;
    float epsilon = 0;
    const Rope* rope = nullptr;
    float scale = 1;                // multiplies q . k
    std::size_t window = 0;         // a row sees this many last positions, itself included; 0: all
    bool gated = false;             // out *= sigmoid(gate)
    // Rows of a sequence see all of its rows in this step, also those behind them (a DFlash block). The sequence must be
    // a path; a window still hides what lies that far in front of the row.
    bool bidirectional = false;
    KvView cache;
    Tensor out;                     // [rows, heads * head_dim]
};

struct DeltaNetArgs {
    Tensor qkv;                  // [rows, channels], channels = 2 * key_heads * dim + value_heads * dim
    Tensor z;                    // [rows, value_heads * dim]
    Tensor alpha, beta;          // [rows, value_heads]
    const Vector* conv = nullptr;    // [channels, conv_width], last tap newest
    const Vector* a = nullptr;       // [value_heads], negative
    const Vector* dt_bias = nullptr; // [value_heads]
    const Vector* norm = nullptr;    // [dim]
    float epsilon = 0;
    std::size_t key_heads = 0, value_heads = 0, dim = 0, conv_width = 0;
    RecurrentView cache;
    Tensor out;                  // [rows, value_heads * dim]
};

// What a model's steps consist of, as far as their memory depends on it.
struct MatrixShape {
    gguf::TensorType type{};
    std::size_t inputs = 0, outputs = 0;
    std::size_t rows = 0; // of the largest step it is part of; 0: of all
    bool operator==(const MatrixShape&) const = default;
};
struct AttentionShape {
    std::size_t heads = 0, head_dim = 0;
    bool operator==(const AttentionShape&) const = default;
};
struct DeltaNetShape {
    std::size_t key_heads = 0, value_heads = 0, dim = 0;
    bool operator==(const DeltaNetShape&) const = default;
};
struct StepShapes {
    std::size_t rows = 0, context = 0; // the largest step, and tokens of a sequence
    std::vector<MatrixShape> matrices; // each once
    std::size_t joined = 0;            // outputs of the widest gate whose up projection has another type
    std::vector<AttentionShape> attention;
    std::vector<DeltaNetShape> delta_nets;
};

struct DeviceMemory { // bytes; 0: not known
    std::uint64_t total = 0, available = 0;
};

struct StepTimes; // compute/step_times.h

class Device {
public:
    virtual ~Device() = default;
    virtual std::string_view name() const = 0;
    // Bytes a second at which the device reads a block of memory of this size once (or of what is free): the limit that
    // benchmarks compare with. 0 if it could not be measured.
    virtual double measure_read_rate(std::size_t bytes) = 0;
    // Memory of the device that this program holds, in bytes; 0: unknown. It is held in large pieces: what of it is taken.
    virtual std::size_t memory_held() const { return 0; }
    virtual std::size_t memory_taken() const { return 0; }
    // The first thing that went wrong since the device was made and could not be reported where it happened. From then on
    // nothing it computes is valid.
    virtual Status failure() const { return Ok{}; }

    // Memory. Zeroed. Fails with ErrorKind::out_of_memory.
    virtual Result<std::unique_ptr<Buffer>> allocate(std::size_t bytes) = 0;
    virtual void upload(std::byte* to, std::span<const std::byte> from) = 0;
    virtual void download(std::span<std::byte> to, const std::byte* from) = 0;
    virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes) = 0; // within the device; may overlap
    virtual void zero(std::byte* at, std::size_t bytes) = 0;

    // For planning, before anything is loaded: what there is, what load_matrix() would keep, what prepare() and the first
    // steps would take.
    virtual DeviceMemory memory() const { return {}; }
    virtual std::uint64_t matrix_bytes(const gguf::Tensor& tensor) const { return tensor.data.size(); }
    virtual std::uint64_t prepared_bytes(const StepShapes&) const { return 0; }

    virtual bool supports_kv(DType) const { return true; }
    virtual KvBytes kv_bytes(const KvView& shape) const = 0; // pointers are ignored
    // Token `first + from[i]` of a slot becomes token `first + i`; from is ascending, from[i] >= i.
    virtual void move_tokens(const KvView& cache, std::size_t slot, std::size_t first,
                             std::span<const std::int32_t> from) = 0;

    // Weights. A 2-D tensor {inputs, outputs} of any type that can be dequantised. It may be read until prepare() returns.
    virtual Result<std::unique_ptr<Matrix>> load_matrix(const gguf::Tensor& tensor) = 0;
    virtual Result<Vector> load_vector(const gguf::Tensor& tensor) = 0;

    // After the last weight is loaded: room for steps of up to `rows` rows over `context` tokens. Called again when more
    // weights have been loaded (a draft behind its target); the larger of each number holds.
    virtual Status prepare(std::size_t rows, std::size_t context) = 0;
    // Whether the first step takes what later ones need (memory, compiled code), so that it had better run before anybody waits.
    virtual bool wants_rehearsal() const { return false; }
    // Rows that the tensors of a step of `rows` rows must have, behind its own: a device may compute on them in vain.
    virtual std::size_t padded_rows(std::size_t rows) const { return rows; }

    // Rows of a prompt that are best fed at a time.
    virtual std::size_t prompt_rows() const { return 256; }
    // 0: all rows are one arithmetic. Else steps of more than max_tree_rows rows, which hold one sequence, have one of their own:
    // there a token's results are the same wherever at multiples of max_tree_rows the prompt in front of it was cut. Prompts
    // that are to be bit for bit the same are cut at multiples of this number.
    virtual std::size_t prompt_border() const { return 0; }

    virtual void begin_step(const StepPlan& plan) = 0;
    virtual void end_step() = 0;
    // From now on adds to `times` what each family of kernels takes; null: no more. Between steps only. Not observed ones.
    // Steps get a little slower by it, and what they compute stays the same.
    virtual void explain(StepTimes* times) = 0;

    // out[r] = scale * table[token of row r];  table [vocabulary, width].
    virtual void embed(const Matrix& table, float scale, Tensor out) = 0;
    // out = x / sqrt(mean(x^2) + epsilon) * weight
    virtual void rms_norm(Tensor x, const Vector& weight, float epsilon, Tensor out) = 0;
    // residual += rms_norm(x)
    virtual void add_rms_norm(Tensor x, const Vector& weight, float epsilon, Tensor residual) = 0;
    // Several matrices over one input x [rows, inputs].
    virtual void project(Tensor x, std::span<const Projection> projections) = 0;
    // out = activation(gate x) * (up x);  out [rows, gate.outputs]
    virtual void gated_project(Tensor x, const Matrix& gate, const Matrix& up, Activation activation, Tensor out) = 0;
    // Norm and rotation of q and k, K and V written to the cache behind the committed tokens, causal attention over the
    // committed tokens and the row's ancestors in this step.
    virtual void attention(const AttentionArgs& args) = 0;
    // The part of attention() that writes: norm and rotation of k, K and V written to the cache behind the committed
    // tokens. q, heads, scale, window and out are not looked at.
    virtual void store_kv(const AttentionArgs& args) = 0;
    // Short convolution, normalisation, gated delta rule over the row's path, gated norm (Qwen3.5).
    virtual void delta_net(const DeltaNetArgs& args) = 0;
    // out[i] = x[plan.outputs[i]];  out [outputs, width]. x may have more rows than the plan: a draft gathers features
    // of earlier steps so.
    virtual void gather_outputs(Tensor x, Tensor out) = 0;
    // out[r][first_column + i] = x[r][i] for all rows of x;  first_column and x.width are multiples of 4.
    virtual void store_columns(Tensor x, Tensor out, std::size_t first_column) = 0;
    // The `count` (1..max_top_k) best of each row of logits, best first, equal ones by lower id; a value that is not a
    // number counts as minus infinity.  ids [rows, count];  logprobs [rows, count]: logit - log(sum(exp(row))), within
    // 1e-4 of exact.
    virtual void top_k(Tensor logits, std::size_t count, std::int32_t* ids, float* logprobs) = 0;
    // ids[r] = the largest of logits[r]; the lower id of equals. A logit that is not a number counts as minus infinity; if
    // none is left, the answer is 0.
    virtual void best_tokens(Tensor logits, std::int32_t* ids) = 0;
    // What the queries ask of rows of logits, each row at most once; all but the logits' rows in device memory: queries
    // [count], masks [logits.rows, mask_words(width)] (only those of masked queries are looked at), summaries
    // [logits.rows, RowSummary::bytes(width)] and `more` [logits.rows, RowSummary::room - near] by the row that they are of.
    // A token counts if its logit is a number above minus infinity, at least best + floor, and the mask allows it. The best
    // is that of best_tokens() among those the mask allows. Candidates are a head of all that count, in the order of
    // compute::precedes, with what was asked for, if so much counts. Masses (of queries without `count`): of each block of
    // mass_block logits the sum that compute::block_mass says, to the bit.
    virtual void summarise(Tensor logits, const RowQuery* queries, std::size_t count, const std::uint64_t* masks,
                           std::byte* summaries, RowCandidate* more) = 0;
};

} // namespace lucebox::compute
