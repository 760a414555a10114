// Which activations exist in operand form, and where. A tensor's operand is valid until the tensor is written again.
#pragma once

#include "compute/cuda/memory.h"
#include "compute/device.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace lucebox::compute::cuda {

class Operands {
public:
    // Four are more than ever wait at once: what a layer's norm, mixer and MLP leave.
    static constexpr std::size_t slots = 4;

    // Takes `memory`, slots pieces of `bytes`, and forgets all operands.
    void lie_in(std::byte* memory, std::size_t bytes) {
        for (std::size_t i = 0; i < slots; ++i)
            slots_[i] = {nullptr, 0, memory + i * bytes, 0};
    }
    void forget_all() {
        for (Slot& slot : slots_)
            slot.owner = nullptr;
    }

    // The operand of a tensor; none if it has to be made.
    std::byte* find(Tensor x) {
        for (Slot& slot : slots_) {
            if (slot.owner != x.data || slot.rows != x.rows) continue;
            slot.used = ++clock_;
            return slot.data;
        }
        return nullptr;
    }
    // Room for the operand of a tensor that is about to be written: the slot that was not used for longest.
    std::byte* claim(Tensor out) {
        written(out.data);
        Slot& slot = *std::ranges::min_element(slots_, {}, &Slot::used);
        slot.owner = out.data;
        slot.rows = out.rows;
        slot.used = ++clock_;
        return slot.data;
    }
    void written(const float* data) {
        for (Slot& slot : slots_) {
            if (slot.owner == data) slot.owner = nullptr;
        }
    }

private:
    struct Slot {
        const float* owner = nullptr;
        std::size_t rows = 0;
        std::byte* data = nullptr;
        std::uint64_t used = 0;
    };
    std::array<Slot, slots> slots_;
    std::uint64_t clock_ = 0;
};

} // namespace lucebox::compute::cuda
