// A constraint that is a mask.
#pragma once

#include "decode/sampler.h"

#include <utility>
#include <vector>

namespace lucebox::decode {

class MaskConstraint : public Constraint {
public:
    explicit MaskConstraint(std::vector<std::uint64_t> bits) : bits_(std::move(bits)) {}
    bool allows(TokenId token) override { return (bits_[static_cast<std::size_t>(token) / 64] >> (token % 64) & 1) != 0; }
    std::span<const std::uint64_t> mask() override {
        ++masks;
        return bits_;
    }
    int masks = 0;

private:
    std::vector<std::uint64_t> bits_;
};

} // namespace lucebox::decode
