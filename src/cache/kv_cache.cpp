#include "cache/kv_cache.h"

namespace lucebox::cache {

using compute::Buffer;
using compute::Device;

Result<Cache> Cache::create(Device& device, const std::vector<LayerShape>& layers, const CacheOptions& options) {
    return create(std::vector<Device*>(layers.size(), &device), layers, options);
}

Result<Cache> Cache::create(std::span<Device* const> devices, const std::vector<LayerShape>& layers, const CacheOptions& options) {
    Cache cache;
    cache.options_ = options;
    for (std::size_t i = 0; i < layers.size(); ++i) {
        const LayerShape& shape = layers[i];
        Device& device = *devices[i];
        Layer layer;
        layer.device = &device;
        const auto allocate = [&](std::size_t bytes) -> Result<std::byte*> {
            LUCEBOX_TRY(auto buffer, device.allocate(bytes));
            layer.buffers.push_back(std::move(buffer));
            return layer.buffers.back()->data();
        };
        if (const auto* attention = std::get_if<AttentionShape>(&shape)) {
            layer.kv.type = options.kv_type;
            layer.kv.slots = options.slots;
            layer.kv.capacity = options.capacity;
            layer.kv.kv_heads = attention->kv_heads;
            layer.kv.head_dim = attention->head_dim;
            const compute::KvBytes bytes = device.kv_bytes(layer.kv);
            LUCEBOX_TRY(layer.kv.k, allocate(bytes.k));
            LUCEBOX_TRY(layer.kv.v, allocate(bytes.v));
            cache.kv_bytes_ += bytes.k + bytes.v;
        } else {
            const auto& r = std::get<RecurrentShape>(shape);
            const std::size_t scratch = compute::max_tree_rows * sizeof(float) * options.slots *
                                        compute::RecurrentView::scratch_width(r.channels, r.value_heads);
            layer.state_bytes = r.value_heads * r.dim * r.dim * sizeof(float);
            layer.conv_bytes = (r.conv_width - 1) * r.channels * sizeof(float);
            const auto floats = [&](std::size_t bytes) -> Result<float*> {
                LUCEBOX_TRY(std::byte * data, allocate(bytes));
                return reinterpret_cast<float*>(data);
            };
            LUCEBOX_TRY(layer.recurrent.state, floats(layer.state_bytes * options.slots));
            LUCEBOX_TRY(layer.recurrent.conv, floats(layer.conv_bytes * options.slots));
            LUCEBOX_TRY(layer.recurrent.scratch, floats(scratch));
            cache.snapshot_bytes_ += layer.state_bytes + layer.conv_bytes;
            cache.recurrent_bytes_ += (layer.state_bytes + layer.conv_bytes) * options.slots + scratch;
        }
        cache.layers_.push_back(std::move(layer));
    }
    return cache;
}

void Cache::clear(std::size_t slot) {
    for (const Layer& layer : layers_) {
        if (!layer.recurrent.state) continue;
        layer.device->zero(reinterpret_cast<std::byte*>(layer.recurrent.state) + slot * layer.state_bytes, layer.state_bytes);
        layer.device->zero(reinterpret_cast<std::byte*>(layer.recurrent.conv) + slot * layer.conv_bytes, layer.conv_bytes);
    }
}

void Cache::save(std::size_t slot, std::span<std::byte> snapshot) const {
    for (const Layer& layer : layers_) {
        if (!layer.recurrent.state) continue;
        layer.device->download(snapshot.first(layer.state_bytes), reinterpret_cast<const std::byte*>(layer.recurrent.state) + slot * layer.state_bytes);
        snapshot = snapshot.subspan(layer.state_bytes);
        layer.device->download(snapshot.first(layer.conv_bytes), reinterpret_cast<const std::byte*>(layer.recurrent.conv) + slot * layer.conv_bytes);
        snapshot = snapshot.subspan(layer.conv_bytes);
    }
}

void Cache::restore(std::size_t slot, std::span<const std::byte> snapshot) {
    for (const Layer& layer : layers_) {
        if (!layer.recurrent.state) continue;
        layer.device->upload(reinterpret_cast<std::byte*>(layer.recurrent.state) + slot * layer.state_bytes, snapshot.first(layer.state_bytes));
        snapshot = snapshot.subspan(layer.state_bytes);
        layer.device->upload(reinterpret_cast<std::byte*>(layer.recurrent.conv) + slot * layer.conv_bytes, snapshot.first(layer.conv_bytes));
        snapshot = snapshot.subspan(layer.conv_bytes);
    }
}

void Cache::compact(std::size_t slot, std::size_t first, std::span<const std::int32_t> kept) {
    for (const Layer& layer : layers_) {
        if (layer.kv.k) layer.device->move_tokens(layer.kv, slot, first, kept);
    }
}

} // namespace lucebox::cache
