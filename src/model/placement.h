// Which device has which layer of a model. Layers are split in order: a device's layers follow each other, with their
// weights, their caches and their scratch; what passes from one device to the next is the residual, by way of the host.
// The embedding belongs to the first device, the final norm and the output matrix to the last.
#pragma once

#include "compute/device.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <vector>

namespace lucebox::model {

struct Placement {
    std::vector<compute::Device*> devices;  // at least one; they outlive the model
    std::vector<std::size_t> first_layer{0}; // of each device, ascending, the first is 0

    Placement(compute::Device& device) : devices{&device} {} // the usual one: everything on one device
    Placement(std::vector<compute::Device*> all, std::vector<std::size_t> first_layers)
        : devices(std::move(all)), first_layer(std::move(first_layers)) {}

    std::size_t last() const { return devices.size() - 1; }
    std::size_t index_of_layer(std::size_t layer) const {
        const auto next = std::ranges::upper_bound(first_layer, layer);
        return static_cast<std::size_t>(next - first_layer.begin()) - 1;
    }
    // By the name that GGUF files give tensors: "blk.<layer>.", "token_embd."; all others belong to the output.
    std::size_t index_of_tensor(std::string_view name) const {
        if (name.starts_with("token_embd.")) return 0;
        constexpr std::string_view block = "blk.";
        std::size_t layer = 0;
        if (!name.starts_with(block)) return last();
        const auto [end, error] = std::from_chars(name.data() + block.size(), name.data() + name.size(), layer);
        return error == std::errc{} ? index_of_layer(layer) : last();
    }
    compute::Device& of_layer(std::size_t layer) const { return *devices[index_of_layer(layer)]; }
    compute::Device& of_tensor(std::string_view name) const { return *devices[index_of_tensor(name)]; }
};

} // namespace lucebox::model
