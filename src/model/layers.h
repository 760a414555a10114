// What architectures share: rotation frequencies, attention and MLP blocks with their weights, embedding and head.
//
// A block is loaded from the names it is given, says how much scratch a row of it needs, and runs on a Pass.
#pragma once

#include "cache/kv_cache.h"
#include "model/loader.h"

#include <functional>
#include <optional>
#include <string>

namespace lucebox::model {

using compute::Tensor;

// Scratch activations of one step: a stack of [rows, width] tensors.
class Workspace {
public:
    Workspace(float* data, std::size_t rows) : data_(data), rows_(rows) {}
    Tensor tensor(std::size_t width) {
        const Tensor tensor{data_ + used_, rows_, width};
        used_ += padded(width) * rows_;
        return tensor;
    }
    // Rounded up so that rows of all tensors begin at whole cache lines as far as their widths allow.
    static std::size_t padded(std::size_t width) { return (width + 15) / 16 * 16; }

    // Gives back what was taken during its life.
    class Scope {
    public:
        explicit Scope(Workspace& workspace) : workspace_(workspace), used_(workspace.used_) {}
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        ~Scope() { workspace_.used_ = used_; }

    private:
        Workspace& workspace_;
        std::size_t used_;
    };

private:
    float* data_;
    std::size_t rows_;
    std::size_t used_ = 0;
};

// Outputs of some layers, side by side: what a draft sees of its target. Layers ascend in the order of columns or not.
struct Capture {
    std::vector<std::size_t> layers;
    Tensor features; // [rows, layers.size() * width]
};

// One forward pass over the rows of a step.
struct Pass {
    compute::Device& device;
    const cache::Cache& cache;
    Workspace workspace;
    std::function<void(std::size_t layer, Tensor x)> tap = {}; // sees the output of every layer, if set
    const Capture* capture = nullptr;
};

// Frequencies base^(-2i/dimensions), changed as `rope.scaling.*` and `rope_freqs.weight` of the file say.
compute::Rope load_rope(Loader& loader, std::size_t dimensions, double base, bool adjacent_pairs);
compute::Rope plain_rope(std::size_t dimensions, double base, double linear_factor = 1);

// Query, key, value and output projections with all that lies between them.
struct AttentionSpec {
    std::size_t width = 0, heads = 0, kv_heads = 0, head_dim = 0;
    float epsilon = 0;
    float scale = 0;         // 0: 1 / sqrt(head_dim)
    std::size_t window = 0;
    bool head_norms = false; // attn_q_norm, attn_k_norm
    bool gated = false;      // attn_q holds query and gate of each head
    const compute::Rope* rope = nullptr;
};

class AttentionBlock {
public:
    static AttentionBlock load(Loader& loader, const std::string& prefix, const AttentionSpec& spec);

    cache::LayerShape shape() const { return cache::AttentionShape{spec_.kv_heads, spec_.head_dim}; }
    std::size_t scratch_width() const;
    // residual += attention(x), or out = attention(x) if `residual` is not to be added to
    void run(Pass& pass, std::size_t layer, Tensor x, Tensor out, bool accumulate) const;

private:
    std::size_t query_width() const { return spec_.heads * spec_.head_dim * (spec_.gated ? 2 : 1); }
    std::size_t kv_width() const { return spec_.kv_heads * spec_.head_dim; }

    AttentionSpec spec_;
    std::unique_ptr<compute::Matrix> q_, k_, v_, output_;
    std::optional<compute::Vector> q_bias_, k_bias_, v_bias_, output_bias_, q_norm_, k_norm_;
};

// down(activation(gate x) * up x)
class GatedMlp {
public:
    static GatedMlp load(Loader& loader, const std::string& prefix, std::size_t width, std::size_t inner,
                         compute::Activation activation);

    std::size_t scratch_width() const { return Workspace::padded(inner_); }
    void run(Pass& pass, Tensor x, Tensor out, bool accumulate) const;

private:
    std::size_t inner_ = 0;
    compute::Activation activation_ = compute::Activation::silu;
    std::unique_ptr<compute::Matrix> gate_, up_, down_;
};

// Token embedding, final norm and output matrix (which may be the embedding's own).
class Vocabulary {
public:
    static Vocabulary load(Loader& loader, std::size_t width, float epsilon, float embedding_scale = 1);

    std::size_t size() const { return size_; }
    std::size_t width() const { return width_; }
    // Of weights that decoding a token reads only a row of.
    std::size_t bytes_not_read() const { return output_ ? embedding_->bytes() : 0; }
    void embed(compute::Device& device, Tensor x) const { device.embed(*embedding_, scale_, x); }
    // x [n, width] -> its final norm in `normed` -> logits [n, size]
    void head(compute::Device& device, Tensor x, Tensor normed, Tensor logits) const;
    void norm(compute::Device& device, Tensor x, Tensor normed) const { device.rms_norm(x, norm_, epsilon_, normed); }
    // The output matrix alone: a draft shares it, behind a norm of its own.
    void project(compute::Device& device, Tensor normed, Tensor logits) const;
    // The output matrix as it is in the model's file, which must still be open where its values are read.
    const gguf::Tensor& output_tensor() const { return output_tensor_; }

private:
    std::size_t size_ = 0, width_ = 0;
    float epsilon_ = 0, scale_ = 1;
    std::unique_ptr<compute::Matrix> embedding_, output_; // output_ null: tied
    compute::Vector norm_;
    gguf::Tensor output_tensor_{};
};

} // namespace lucebox::model
