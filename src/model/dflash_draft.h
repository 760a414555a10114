// The DFlash draft model (block diffusion for speculative decoding, arXiv 2602.06036): a few layers that guess a whole
// block of tokens in one pass.
//
//     context, once for each committed position p:  g = rms(fc [h_l0; h_l1; ...], hidden_norm)
//         in every layer: K = rope(rms(Wk g, k_norm), p), V = Wv g, kept in a cache
//     block, rows [token, mask, mask, ...] at positions c, c+1, ...:
//         x = embedding;  x += attention(rms(x, attn_norm));  x += mlp(rms(x, ffn_norm))
//         row k predicts the token at c + k;  logits = target's head of rms(x, output_norm)
//
// Full layers let a row see all context and the whole block, both ways; sliding ones a window that ends at the row. The
// block's own K and V lie behind the context as scratch and are never kept.
#pragma once

#include "model/dflash_file.h"
#include "model/layers.h"

namespace lucebox::model {

class Model;

class DflashDraft {
public:
    // Refuses a draft of another target: width, vocabulary and layers must be the target's. `file` must outlive the draft.
    static Result<std::unique_ptr<DflashDraft>> load(const DflashFile& file, compute::Device& device, const Model& target);

    const DflashConfig& config() const { return config_; }
    std::uint64_t weight_bytes() const { return weight_bytes_; }
    std::vector<cache::LayerShape> layers() const;
    std::size_t scratch_width() const; // floats of scratch a row needs, x not included

    // Puts the plan's rows into the cache: row i's features are row plan.outputs[i] of `features` [any, n * width].
    void add_context(Pass& pass, Tensor features) const;
    // Runs the block rows of the plan, x [rows, width]; out [plan.outputs, width]: what the target's output matrix takes.
    void run_block(Pass& pass, const Vocabulary& target, Tensor x, Tensor out) const;

private:
    struct Layer {
        compute::Vector attention_norm, mlp_norm, q_norm, k_norm;
        std::unique_ptr<compute::Matrix> q, k, v, output, gate, up, down;
        bool sliding = false;
    };

    explicit DflashDraft(const DflashConfig& config) : config_(config) {}
    compute::AttentionArgs attention_args(Pass& pass, std::size_t index) const;

    DflashConfig config_;
    compute::Rope rope_;
    std::unique_ptr<compute::Matrix> fuse_;
    compute::Vector hidden_norm_, output_norm_;
    std::vector<Layer> layers_;
    std::uint64_t weight_bytes_ = 0;
};

} // namespace lucebox::model
