#include "model/dflash_draft.h"

#include "model/dflash_target.h"
#include "model/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lucebox::model {
namespace {

// Loads by name and shape, and remembers the first failure.
class Weights {
public:
    Weights(const DflashFile& file, compute::Device& device) : file_(file), device_(device) {}

    Status status = Ok{};
    std::uint64_t bytes = 0;

    std::unique_ptr<compute::Matrix> matrix(const std::string& name, std::size_t inputs, std::size_t outputs) {
        const gguf::Tensor* tensor = find(name, inputs, outputs);
        if (!tensor) return nullptr;
        auto matrix = device_.load_matrix(*tensor);
        if (!matrix) {
            status = matrix.error();
            return nullptr;
        }
        bytes += (*matrix)->bytes();
        return std::move(*matrix);
    }

    compute::Vector vector(const std::string& name, std::size_t size) {
        const gguf::Tensor* tensor = find(name, size, 1);
        if (!tensor) return {};
        auto vector = device_.load_vector(*tensor);
        if (!vector) {
            status = vector.error();
            return {};
        }
        bytes += vector->size * sizeof(float);
        return std::move(*vector);
    }

private:
    const gguf::Tensor* find(const std::string& name, std::size_t inputs, std::size_t outputs) {
        const gguf::Tensor* tensor = status ? file_.find(name) : nullptr;
        if (!status) return nullptr;
        if (!tensor) {
            status = Error{ErrorKind::invalid_data, fmt::format("tensor {} is missing", name)};
        } else if (tensor->shape[0] != inputs || tensor->shape[1] != outputs || tensor->rows() != outputs) {
            status = Error{ErrorKind::invalid_data, fmt::format("tensor {} has shape {}x{}; the draft's metadata says {}x{}", name,
                                                                tensor->shape[0], tensor->rows(), inputs, outputs)};
            tensor = nullptr;
        }
        return tensor;
    }

    const DflashFile& file_;
    compute::Device& device_;
};

} // namespace

Result<std::unique_ptr<DflashDraft>> DflashDraft::load(const DflashFile& file, compute::Device& device, const Model& target) {
    const DflashConfig& c = file.config();
    LUCEBOX_CHECK(check_fits(c, {{}, target.width(), target.vocabulary().size(), target.layer_count()}));
    std::unique_ptr<DflashDraft> draft(new DflashDraft(c));
    draft->rope_ = plain_rope(c.head_dim, c.rope_base);
    Weights weights(file, device);
    draft->fuse_ = weights.matrix("dflash.fc.weight", c.target_layers.size() * c.width, c.width);
    draft->hidden_norm_ = weights.vector("dflash.hidden_norm.weight", c.width);
    draft->output_norm_ = weights.vector("output_norm.weight", c.width);
    for (std::size_t i = 0; i < c.layers && weights.status; ++i) {
        const auto name = [&](std::string_view part) { return fmt::format("blk.{}.{}.weight", i, part); };
        Layer layer;
        layer.attention_norm = weights.vector(name("attn_norm"), c.width);
        layer.q = weights.matrix(name("attn_q"), c.width, c.heads * c.head_dim);
        layer.k = weights.matrix(name("attn_k"), c.width, c.kv_heads * c.head_dim);
        layer.v = weights.matrix(name("attn_v"), c.width, c.kv_heads * c.head_dim);
        layer.output = weights.matrix(name("attn_output"), c.heads * c.head_dim, c.width);
        layer.q_norm = weights.vector(name("attn_q_norm"), c.head_dim);
        layer.k_norm = weights.vector(name("attn_k_norm"), c.head_dim);
        layer.mlp_norm = weights.vector(name("ffn_norm"), c.width);
        layer.gate = weights.matrix(name("ffn_gate"), c.width, c.inner);
        layer.up = weights.matrix(name("ffn_up"), c.width, c.inner);
        layer.down = weights.matrix(name("ffn_down"), c.inner, c.width);
        layer.sliding = c.sliding[i];
        draft->layers_.push_back(std::move(layer));
    }
    LUCEBOX_CHECK(weights.status);
    draft->weight_bytes_ = weights.bytes;
    return draft;
}

std::vector<cache::LayerShape> DflashDraft::layers() const {
    return std::vector<cache::LayerShape>(config_.layers, cache::AttentionShape{config_.kv_heads, config_.head_dim});
}

std::size_t DflashDraft::scratch_width() const {
    const auto padded = Workspace::padded;
    const std::size_t kv = padded(config_.kv_heads * config_.head_dim), q = padded(config_.heads * config_.head_dim);
    const std::size_t context = padded(config_.target_layers.size() * config_.width) + 2 * padded(config_.width) + 2 * kv;
    const std::size_t block = padded(config_.width) + std::max(2 * q + 2 * kv, padded(config_.inner));
    return std::max(context, block);
}

compute::AttentionArgs DflashDraft::attention_args(Pass& pass, std::size_t index) const {
    const Layer& layer = layers_[index];
    compute::AttentionArgs args;
    args.k = pass.workspace.tensor(config_.kv_heads * config_.head_dim);
    args.v = pass.workspace.tensor(config_.kv_heads * config_.head_dim);
    args.heads = config_.heads;
    args.q_norm = &layer.q_norm;
    args.k_norm = &layer.k_norm;
    args.epsilon = static_cast<float>(config_.epsilon);
    args.rope = &rope_;
    args.scale = 1 / std::sqrt(static_cast<float>(config_.head_dim));
    args.window = layer.sliding ? config_.window : 0;
    args.bidirectional = !layer.sliding;
    args.cache = pass.cache.kv(index);
    return args;
}

void DflashDraft::add_context(Pass& pass, Tensor features) const {
    const auto epsilon = static_cast<float>(config_.epsilon);
    const Workspace::Scope scope(pass.workspace);
    const Tensor gathered = pass.workspace.tensor(config_.target_layers.size() * config_.width);
    const Tensor context = pass.workspace.tensor(config_.width), h = pass.workspace.tensor(config_.width);
    pass.device.gather_outputs(features, gathered);
    const compute::Projection fuse[] = {{fuse_.get(), nullptr, h, false}};
    pass.device.project(gathered, fuse);
    pass.device.rms_norm(h, hidden_norm_, epsilon, context);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        const Workspace::Scope layer_scope(pass.workspace);
        const compute::AttentionArgs args = attention_args(pass, i);
        if (config_.context_layer_norm) pass.device.rms_norm(context, layer.attention_norm, epsilon, h);
        const compute::Projection inputs[] = {{layer.k.get(), nullptr, args.k, false}, {layer.v.get(), nullptr, args.v, false}};
        pass.device.project(config_.context_layer_norm ? h : context, inputs);
        pass.device.store_kv(args);
    }
}

void DflashDraft::run_block(Pass& pass, const Vocabulary& target, Tensor x, Tensor out) const {
    const auto epsilon = static_cast<float>(config_.epsilon);
    const Workspace::Scope scope(pass.workspace);
    const Tensor h = pass.workspace.tensor(config_.width);
    target.embed(pass.device, x);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
        const Layer& layer = layers_[i];
        const Workspace::Scope layer_scope(pass.workspace);
        pass.device.rms_norm(x, layer.attention_norm, epsilon, h);
        {
            const Workspace::Scope attention_scope(pass.workspace);
            compute::AttentionArgs args = attention_args(pass, i);
            args.q = pass.workspace.tensor(config_.heads * config_.head_dim);
            args.out = pass.workspace.tensor(config_.heads * config_.head_dim);
            const compute::Projection inputs[] = {{layer.q.get(), nullptr, args.q, false},
                                                  {layer.k.get(), nullptr, args.k, false},
                                                  {layer.v.get(), nullptr, args.v, false}};
            pass.device.project(h, inputs);
            pass.device.attention(args);
            const compute::Projection output[] = {{layer.output.get(), nullptr, x, true}};
            pass.device.project(args.out, output);
        }
        pass.device.rms_norm(x, layer.mlp_norm, epsilon, h);
        const Tensor hidden = pass.workspace.tensor(config_.inner);
        pass.device.gated_project(h, *layer.gate, *layer.up, compute::Activation::silu, hidden);
        const compute::Projection down[] = {{layer.down.get(), nullptr, x, true}};
        pass.device.project(hidden, down);
    }
    pass.device.rms_norm(x, output_norm_, epsilon, h);
    pass.device.gather_outputs(h, out);
}

} // namespace lucebox::model
