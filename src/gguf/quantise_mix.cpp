#include "gguf/quantise_mix.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>

namespace lucebox::gguf {
namespace {

using enum TensorType;
using Extra = Mix::Extra;

constexpr Mix mixes[] = {
    {"F32", f32, 0, Extra::none, f32, f32},
    {"F16", f16, 1, Extra::none, f16, f16},
    {"BF16", bf16, 32, Extra::none, bf16, bf16},
    {"Q8_0", q8_0, 7, Extra::none, q8_0, q8_0},
    {"Q6_K", q6_k, 18, Extra::none, q6_k, q6_k},
    {"Q5_K_M", q5_k, 17, Extra::outer_blocks, q6_k, q6_k},
    {"Q5_K_S", q5_k, 16, Extra::none, q5_k, q6_k},
    {"Q5_0", q5_0, 8, Extra::none, q5_0, q6_k},
    {"Q5_1", q5_1, 9, Extra::none, q5_1, q6_k},
    {"Q4_K_M", q4_k, 15, Extra::outer_blocks, q6_k, q6_k},
    {"Q4_K_S", q4_k, 14, Extra::first_blocks, q5_k, q6_k},
    {"Q4_0", q4_0, 2, Extra::none, q4_0, q6_k},
    {"Q4_1", q4_1, 3, Extra::none, q4_1, q6_k},
};

constexpr std::uint64_t no_block = std::numeric_limits<std::uint64_t>::max();

// "blk.12.ffn_down.weight" is block 12, role "ffn_down.weight"; a tensor outside the blocks is its whole name.
struct Place {
    std::uint64_t block = no_block;
    std::string_view role;
};

Place place_of(std::string_view name) {
    constexpr std::string_view prefix = "blk.";
    if (!name.starts_with(prefix)) return {no_block, name};
    std::uint64_t block = 0;
    const char* const end = name.data() + name.size();
    const auto [at, error] = std::from_chars(name.data() + prefix.size(), end, block);
    if (error != std::errc() || at == end || *at != '.') return {no_block, name};
    return {block, std::string_view(at + 1, end)};
}

// Small tensors, and those whose rounding would be felt everywhere: norms, the router, the convolution, the projection
// of per-layer embeddings.
bool is_kept(const Tensor& tensor) {
    const std::string_view name = tensor.name;
    const bool is_vector = tensor.rows() == 1;
    return is_vector || !name.ends_with("weight") || name.ends_with("_norm.weight") ||
           name.ends_with("ffn_gate_inp.weight") || name.find("ssm_conv1d") != name.npos ||
           name.find("per_layer_model_proj") != name.npos;
}

bool is_value(std::string_view role) {
    return role == "attn_v.weight" || role == "attn_qkv.weight";
}

bool is_down(std::string_view role) {
    return role == "ffn_down.weight" || role == "ffn_down_exps.weight" || role == "ffn_down_shexp.weight";
}

// The first and last eighth, and every third between.
bool is_outer(std::uint64_t index, std::uint64_t count) {
    return index < count / 8 || index >= 7 * count / 8 || (index - count / 8) % 3 == 2;
}

// All features of a draft pass through its input projection: with fewer than 8 bits there, fewer drafts are accepted.
bool is_draft_input(std::string_view name) {
    return name == "dflash.fc.weight" || name == "fc.weight";
}

double bits(TensorType type) {
    const BlockFormat& format = block_format(type);
    return 8.0 * format.bytes / format.elements;
}

// A type whose blocks divide the row, with at least as many bits.
TensorType fit_row(TensorType type, std::uint64_t row) {
    if (row % block_format(type).elements == 0) return type;
    if (row % 32 != 0) return f16;
    switch (type) {
    case q4_k: return q5_0;
    case q5_k: return q5_1;
    case q6_k: return q8_0;
    default: return f16;
    }
}

class Planner {
public:
    Planner(std::span<const Tensor> tensors, std::uint64_t blocks, const Mix& mix) : mix_(mix), blocks_(blocks) {
        for (const Tensor& tensor : tensors) {
            has_output_ = has_output_ || tensor.name == "output.weight";
            if (is_value(place_of(tensor.name).role)) ++values_;
        }
    }

    // Call in visiting order: values are counted as they come.
    TensorType choose(const Tensor& tensor) {
        const Place place = place_of(tensor.name);
        TensorType type = mix_.base;
        if (is_value(place.role)) {
            if (value_has_extra(next_value_++)) type = mix_.extra_type;
        } else if (is_down(place.role)) {
            if (down_has_extra(place.block)) type = mix_.extra_type;
        } else if (is_output(tensor.name)) {
            type = mix_.output;
        } else if (is_draft_input(tensor.name) && bits(type) < bits(q8_0)) {
            type = q8_0;
        }
        return is_kept(tensor) ? tensor.type : fit_row(type, tensor.shape[0]);
    }

private:
    bool is_output(std::string_view name) const {
        if (has_output_) return name == "output.weight";
        return name == "token_embd.weight" || name == "per_layer_token_embd.weight";
    }
    bool value_has_extra(std::uint64_t index) const {
        if (mix_.extra == Extra::first_blocks) return index < 4;
        return mix_.extra == Extra::outer_blocks && is_outer(index, values_);
    }
    bool down_has_extra(std::uint64_t block) const {
        if (mix_.extra == Extra::first_blocks) return block < blocks_ / 8;
        return mix_.extra == Extra::outer_blocks && is_outer(block, blocks_);
    }

    const Mix& mix_;
    std::uint64_t blocks_;
    std::uint64_t values_ = 0;
    std::uint64_t next_value_ = 0;
    bool has_output_ = false;
};

// Tensors outside the blocks first, then block by block.
std::vector<std::size_t> visiting_order(std::span<const Tensor> tensors) {
    std::vector<std::size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto key = [&](std::size_t i) {
        const Place place = place_of(tensors[i].name);
        return std::pair(place.block + 1, std::string_view(tensors[i].name)); // no_block + 1 is 0
    };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return key(a) < key(b); });
    return order;
}

} // namespace

std::span<const Mix> all_mixes() {
    return mixes;
}

const Mix* find_mix(std::string_view name) {
    const auto same = [](char a, char b) {
        return std::toupper(static_cast<unsigned char>(a)) == std::toupper(static_cast<unsigned char>(b));
    };
    const auto found = std::find_if(std::begin(mixes), std::end(mixes), [&](const Mix& mix) {
        return std::equal(mix.name.begin(), mix.name.end(), name.begin(), name.end(), same);
    });
    return found != std::end(mixes) ? found : nullptr;
}

Mix uniform_mix(TensorType type) {
    std::uint32_t file_type = 0;
    for (const Mix& mix : mixes) {
        if (mix.base == type) file_type = mix.file_type; // the last is the plainer one: "Q4_K_S", not "Q4_K_M"
    }
    return {block_format(type).name, type, file_type, Extra::none, type, type};
}

std::vector<TensorType> plan_types(std::span<const Tensor> tensors, std::uint64_t blocks, const Mix& mix) {
    std::vector<TensorType> types(tensors.size());
    Planner planner(tensors, blocks, mix);
    for (const std::size_t index : visiting_order(tensors))
        types[index] = planner.choose(tensors[index]);
    return types;
}

} // namespace lucebox::gguf
