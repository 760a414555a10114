// Where a token's key and value lie in the CPU's cache, and how they are written and copied.
//
// Keys: [slot][kv head][group of 16 tokens][head_dim][16]; values: [slot][kv head][token][padded head_dim]. q8_0 has its
// scales behind each group of keys, and behind each value (row_kernels.h).
#pragma once

#include "compute/cpu/row_kernels.h"

namespace lucebox::compute::cpu {

class KvLayout {
public:
    explicit KvLayout(const KvView& cache)
        : cache_(cache), groups_((cache.capacity + key_group - 1) / key_group),
          group_bytes_(key_group_bytes(cache.type, cache.head_dim)), value_bytes_(compute::cpu::value_bytes(cache.type, cache.head_dim)) {}

    KvBytes bytes() const {
        const std::size_t groups = cache_.slots * cache_.kv_heads * groups_;
        return {groups * group_bytes_, groups * key_group * value_bytes_};
    }
    std::size_t group_bytes() const { return group_bytes_; }
    std::size_t value_bytes() const { return value_bytes_; }
    std::size_t last_group_token() const { return (groups_ - 1) * key_group; }

    // The group that holds the token's key, at lane token % 16.
    std::byte* keys(std::size_t slot, std::size_t kv_head, std::size_t token) const {
        return cache_.k + ((slot * cache_.kv_heads + kv_head) * groups_ + token / key_group) * group_bytes_;
    }
    std::byte* value(std::size_t slot, std::size_t kv_head, std::size_t token) const {
        return cache_.v + ((slot * cache_.kv_heads + kv_head) * groups_ * key_group + token) * value_bytes_;
    }

    // [head_dim] f32 into the cache, rounded to its type.
    void write_key(std::byte* keys, std::size_t lane, const float* from, const RowKernels& kernels) const;
    void write_value(std::byte* value, const float* from, const RowKernels& kernels) const;
    // One key from a lane to another's; the groups may be the same.
    void copy_key(std::byte* to, std::size_t to_lane, const std::byte* from, std::size_t from_lane) const;

private:
    const KvView& cache_;
    std::size_t groups_, group_bytes_, value_bytes_;
};

// q8_0 of up to 32 values: the scale, as f16 bits, and as many codes. Whatever the values are, codes lie in -127 .. 127.
std::uint16_t quantise_kv_block(const float* x, std::size_t n, std::int8_t* codes);

} // namespace lucebox::compute::cpu
