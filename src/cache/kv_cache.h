// Storage of what a sequence leaves behind: keys and values of attention layers, states of recurrent layers.
//
// Allocated once for a fixed number of slots; a slot holds one sequence. The tail of a slot, behind its committed
// tokens, is the scratch of the step that runs. One thread, the one that drives the device.
#pragma once

#include "compute/device.h"

#include <cstddef>
#include <memory>
#include <span>
#include <variant>
#include <vector>

namespace lucebox::cache {

struct AttentionShape {
    std::size_t kv_heads = 0, head_dim = 0;
};
struct RecurrentShape {
    std::size_t channels = 0, conv_width = 0, value_heads = 0, dim = 0;
};
using LayerShape = std::variant<AttentionShape, RecurrentShape>;

struct CacheOptions {
    std::size_t slots = 1;
    std::size_t capacity = 0; // tokens a slot holds, a step's rows included
    compute::DType kv_type = compute::DType::f16;
};

class Cache {
public:
    static Result<Cache> create(compute::Device& device, const std::vector<LayerShape>& layers, const CacheOptions& options);
    // Layers on devices of their own: devices [layers].
    static Result<Cache> create(std::span<compute::Device* const> devices, const std::vector<LayerShape>& layers,
                                const CacheOptions& options);

    const compute::KvView& kv(std::size_t layer) const { return layers_[layer].kv; }
    const compute::RecurrentView& recurrent(std::size_t layer) const { return layers_[layer].recurrent; }
    const CacheOptions& options() const { return options_; }
    std::size_t kv_bytes() const { return kv_bytes_; }
    std::size_t recurrent_bytes() const { return recurrent_bytes_; }

    // A fresh sequence: recurrent state is zero. Keys and values need no clearing.
    void clear(std::size_t slot);
    // The recurrent state of a slot, for going back to it: recurrent layers hold no past.
    std::size_t snapshot_bytes() const { return snapshot_bytes_; }
    void save(std::size_t slot, std::span<std::byte> snapshot) const;
    void restore(std::size_t slot, std::span<const std::byte> snapshot);
    // Keeps the tokens first + kept[i], as the tokens first + i. `kept` ascending.
    void compact(std::size_t slot, std::size_t first, std::span<const std::int32_t> kept);

private:
    struct Layer {
        compute::Device* device = nullptr;
        compute::KvView kv;
        compute::RecurrentView recurrent;
        std::size_t state_bytes = 0, conv_bytes = 0; // of one slot
        std::vector<std::unique_ptr<compute::Buffer>> buffers;
    };

    std::vector<Layer> layers_;
    CacheOptions options_;
    std::size_t kv_bytes_ = 0, recurrent_bytes_ = 0, snapshot_bytes_ = 0;
};

} // namespace lucebox::cache
