#include "model/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace lucebox::model {

using compute::Matrix;
using compute::Projection;
using compute::Rope;

Rope plain_rope(std::size_t dimensions, double base, double linear_factor) {
    Rope rope;
    rope.dimensions = dimensions;
    for (std::size_t i = 0; i < dimensions / 2; ++i) {
        const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(dimensions);
        rope.frequency.push_back(std::pow(base, exponent) / linear_factor);
    }
    return rope;
}

namespace {

// YaRN (Peng et al., 2023): slow pairs are interpolated by the factor, fast ones kept, those between blended.
void apply_yarn(Loader& loader, Rope& rope, double base, double factor) {
    const auto n = static_cast<double>(rope.dimensions);
    const double original = loader.number("rope.scaling.original_context_length", loader.number("context_length", 4096));
    const auto turns_at = [&](double turns) { return n * std::log(original / (2 * M_PI * turns)) / (2 * std::log(base)); };
    const double low = std::max(0.0, std::floor(turns_at(loader.number("rope.scaling.yarn_beta_fast", 32))));
    const double high = std::min(n - 1, std::ceil(turns_at(loader.number("rope.scaling.yarn_beta_slow", 1))));
    for (std::size_t i = 0; i < rope.frequency.size(); ++i) {
        const double ramp = std::clamp((static_cast<double>(i) - low) / std::max(0.001, high - low), 0.0, 1.0);
        rope.frequency[i] *= ramp / factor + (1 - ramp);
    }
    rope.magnitude = loader.number("rope.scaling.attn_factor", 1) * (0.1 * std::log(factor) + 1);
}

} // namespace

Rope load_rope(Loader& loader, std::size_t dimensions, double base, bool adjacent_pairs) {
    if (dimensions % 2 != 0) loader.fail(ErrorKind::invalid_data, fmt::format("rope.dimension_count {} is odd", dimensions));
    if (!(base > 0)) loader.fail(ErrorKind::invalid_data, fmt::format("rope.freq_base {} is not positive", base));
    Rope rope = plain_rope(dimensions, base);
    rope.adjacent_pairs = adjacent_pairs;
    const std::string type = loader.string("rope.scaling.type", "linear");
    const double factor = loader.number("rope.scaling.factor", loader.number("rope.scale_linear", 1));
    if (!(factor > 0)) loader.fail(ErrorKind::invalid_data, fmt::format("rope.scaling.factor {} is not positive", factor));
    if (type == "yarn") {
        apply_yarn(loader, rope, base, factor);
    } else if (type == "linear") {
        for (double& frequency : rope.frequency) frequency /= factor;
    } else if (type != "none" && factor != 1) {
        loader.fail(ErrorKind::unsupported, fmt::format("rope.scaling.type '{}' is not supported", type));
    }
    if (loader.has("rope_freqs.weight")) { // one divisor for each pair (Llama 3.1)
        const compute::Vector factors = loader.vector("rope_freqs.weight", dimensions / 2);
        if (loader.status()) {
            std::vector<float> values(factors.size);
            loader.placement().of_tensor("rope_freqs.weight").download(std::as_writable_bytes(std::span(values)), factors.buffer->data());
            for (std::size_t i = 0; i < values.size(); ++i) rope.frequency[i] /= values[i];
        }
    }
    return rope;
}

AttentionBlock AttentionBlock::load(Loader& loader, const std::string& prefix, const AttentionSpec& spec) {
    AttentionBlock block;
    block.spec_ = spec;
    if (spec.heads % spec.kv_heads != 0) {
        loader.fail(ErrorKind::invalid_data, fmt::format("attention.head_count {} is no multiple of head_count_kv {}",
                                                         spec.heads, spec.kv_heads));
    }
    if (spec.rope->dimensions > spec.head_dim) {
        loader.fail(ErrorKind::invalid_data, fmt::format("rope.dimension_count {} exceeds the head size {}",
                                                         spec.rope->dimensions, spec.head_dim));
    }
    const auto optional = [&](const std::string& name, std::size_t size) -> std::optional<compute::Vector> {
        if (!loader.has(prefix + name)) return std::nullopt;
        return loader.vector(prefix + name, size);
    };
    block.q_ = loader.matrix(prefix + "attn_q.weight", spec.width, block.query_width());
    block.k_ = loader.matrix(prefix + "attn_k.weight", spec.width, block.kv_width());
    block.v_ = loader.matrix(prefix + "attn_v.weight", spec.width, block.kv_width());
    block.output_ = loader.matrix(prefix + "attn_output.weight", spec.heads * spec.head_dim, spec.width);
    block.q_bias_ = optional("attn_q.bias", block.query_width());
    block.k_bias_ = optional("attn_k.bias", block.kv_width());
    block.v_bias_ = optional("attn_v.bias", block.kv_width());
    block.output_bias_ = optional("attn_output.bias", spec.width);
    if (spec.head_norms) {
        block.q_norm_ = loader.vector(prefix + "attn_q_norm.weight", spec.head_dim);
        block.k_norm_ = loader.vector(prefix + "attn_k_norm.weight", spec.head_dim);
    }
    return block;
}

std::size_t AttentionBlock::scratch_width() const {
    return Workspace::padded(query_width()) + 2 * Workspace::padded(kv_width()) +
           Workspace::padded(spec_.heads * spec_.head_dim);
}

void AttentionBlock::run(Pass& pass, std::size_t layer, Tensor x, Tensor out, bool accumulate) const {
    const Workspace::Scope scope(pass.workspace);
    const auto pointer = [](const std::optional<compute::Vector>& vector) { return vector ? &*vector : nullptr; };
    compute::AttentionArgs args;
    args.q = pass.workspace.tensor(query_width());
    args.k = pass.workspace.tensor(kv_width());
    args.v = pass.workspace.tensor(kv_width());
    args.out = pass.workspace.tensor(spec_.heads * spec_.head_dim);
    const Projection inputs[] = {{q_.get(), pointer(q_bias_), args.q, false},
                                 {k_.get(), pointer(k_bias_), args.k, false},
                                 {v_.get(), pointer(v_bias_), args.v, false}};
    pass.device.project(x, inputs);
    args.heads = spec_.heads;
    args.q_norm = pointer(q_norm_);
    args.k_norm = pointer(k_norm_);
    args.epsilon = spec_.epsilon;
    args.rope = spec_.rope;
    args.scale = spec_.scale != 0 ? spec_.scale : 1 / std::sqrt(static_cast<float>(spec_.head_dim));
    args.window = spec_.window;
    args.gated = spec_.gated;
    args.cache = pass.cache.kv(layer);
    pass.device.attention(args);
    const Projection output[] = {{output_.get(), pointer(output_bias_), out, accumulate}};
    pass.device.project(args.out, output);
}

GatedMlp GatedMlp::load(Loader& loader, const std::string& prefix, std::size_t width, std::size_t inner,
                        compute::Activation activation) {
    GatedMlp mlp;
    mlp.inner_ = inner;
    mlp.activation_ = activation;
    mlp.gate_ = loader.matrix(prefix + "ffn_gate.weight", width, inner);
    mlp.up_ = loader.matrix(prefix + "ffn_up.weight", width, inner);
    mlp.down_ = loader.matrix(prefix + "ffn_down.weight", inner, width);
    return mlp;
}

void GatedMlp::run(Pass& pass, Tensor x, Tensor out, bool accumulate) const {
    const Workspace::Scope scope(pass.workspace);
    const Tensor hidden = pass.workspace.tensor(inner_);
    pass.device.gated_project(x, *gate_, *up_, activation_, hidden);
    const Projection down[] = {{down_.get(), nullptr, out, accumulate}};
    pass.device.project(hidden, down);
}

Vocabulary Vocabulary::load(Loader& loader, std::size_t width, float epsilon, float embedding_scale) {
    Vocabulary vocabulary;
    vocabulary.width_ = width;
    vocabulary.epsilon_ = epsilon;
    vocabulary.scale_ = embedding_scale;
    vocabulary.size_ = loader.outputs_of("token_embd.weight");
    vocabulary.embedding_ = loader.matrix("token_embd.weight", width, vocabulary.size_);
    vocabulary.norm_ = loader.vector("output_norm.weight", width);
    vocabulary.output_tensor_ = loader.tensor(loader.has("output.weight") ? "output.weight" : "token_embd.weight");
    const Placement& placement = loader.placement();
    if (loader.has("output.weight")) {
        vocabulary.output_ = loader.matrix("output.weight", width, vocabulary.size_);
    } else if (placement.last() > 0) { // tied, but needed at both ends
        vocabulary.output_ = loader.matrix_on(*placement.devices.back(), "token_embd.weight", width, vocabulary.size_);
    }
    return vocabulary;
}

void Vocabulary::head(compute::Device& device, Tensor x, Tensor normed, Tensor logits) const {
    norm(device, x, normed);
    project(device, normed, logits);
}

void Vocabulary::project(compute::Device& device, Tensor normed, Tensor logits) const {
    const Projection output[] = {{output_ ? output_.get() : embedding_.get(), nullptr, logits, false}};
    device.project(normed, output);
}

} // namespace lucebox::model
