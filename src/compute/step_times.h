// Where the time of steps goes, by families of kernels: what Device::explain() counts.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace lucebox::compute {

enum class KernelFamily : std::uint8_t {
    embedding,
    norms,
    projections, // products that no other family has
    gated_mlp,   // gate and up, with the activation between
    attention,   // the writing of keys and values included
    delta_net,
    step_kernel, // several norms, products and DeltaNet layers that a GPU runs as one launch
    head,        // the product with the vocabulary, and the best of its logits
    other,
};

inline constexpr std::array<std::string_view, 9> kernel_family_names{
    "embedding", "norms", "projections", "gated-mlp", "attention", "delta-net", "step-kernel", "head", "other"};

struct StepTimes {
    struct Share {
        double seconds = 0;
        std::uint64_t weight_bytes = 0; // of the matrices it multiplied by
    };
    std::array<Share, kernel_family_names.size()> families{};

    void add(KernelFamily family, double seconds, std::uint64_t weight_bytes) {
        Share& share = families[static_cast<std::size_t>(family)];
        share.seconds += seconds;
        share.weight_bytes += weight_bytes;
    }
    double seconds() const {
        double sum = 0;
        for (const Share& share : families) sum += share.seconds;
        return sum;
    }
};

} // namespace lucebox::compute
