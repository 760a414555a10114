// The two hash tables that encoding lives on: from bytes to a token, and from a pair of tokens to their merge.
//
// Open addressing, at most half full, filled while a tokenizer is built and only read afterwards (any thread). Hashes
// are seeded anew for each process, so that no model file can be made to collide.
#pragma once

#include "text/tokenizer.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace lucebox::text {

std::uint64_t process_hash_seed();

inline std::uint64_t hash_mix(std::uint64_t a, std::uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) {
    constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15; // 2^64 / golden ratio
    const char* data = bytes.data();
    std::size_t left = bytes.size();
    std::uint64_t hash = seed ^ (left * kOdd);
    const auto load = [](const char* from, std::size_t count) {
        std::uint64_t word = 0;
        std::memcpy(&word, from, count);
        return word;
    };
    for (; left > 8; left -= 8, data += 8)
        hash = hash_mix(hash ^ load(data, 8), kOdd);
    std::uint64_t tail = 0; // 0..8 bytes, in loads of fixed size
    if (left == 8) {
        tail = load(data, 8);
    } else if (left >= 4) {
        tail = load(data, 4) | load(data + left - 4, 4) << 32;
    } else if (left > 0) {
        const auto at = [&](std::size_t i) { return std::uint64_t{static_cast<unsigned char>(data[i])}; };
        tail = at(0) | at(left / 2) << 8 | at(left - 1) << 16;
    }
    return hash_mix(hash ^ tail, kOdd ^ (seed >> 1));
}

// Finds tokens by their bytes. Keys stay with the caller: `key_of(id)` gives a token's bytes.
class TextTable {
public:
    explicit TextTable(std::size_t tokens = 0) : slots_(std::bit_ceil(2 * tokens + 2)), seed_(process_hash_seed()) {}

    template <class KeyOf>
    void insert(TokenId id, const KeyOf& key_of) { // the first of equal keys stays
        const std::string_view key = key_of(id);
        Slot& slot = slots_[locate(key, key_of)];
        if (slot.id < 0) slot = {tag(key), id};
    }

    template <class KeyOf>
    TokenId find(std::string_view key, const KeyOf& key_of) const {
        return slots_[locate(key, key_of)].id;
    }

private:
    struct Slot {
        std::uint32_t tag = 0; // upper half of the hash
        TokenId id = -1;       // -1: free
    };

    std::uint32_t tag(std::string_view key) const { return static_cast<std::uint32_t>(hash_bytes(key, seed_) >> 32); }

    template <class KeyOf>
    std::size_t locate(std::string_view key, const KeyOf& key_of) const {
        const std::uint64_t hash = hash_bytes(key, seed_);
        const auto wanted = static_cast<std::uint32_t>(hash >> 32);
        const std::size_t mask = slots_.size() - 1;
        std::size_t i = hash & mask;
        while (slots_[i].id >= 0 && (slots_[i].tag != wanted || key_of(slots_[i].id) != key))
            i = (i + 1) & mask;
        return i;
    }

    std::vector<Slot> slots_;
    std::uint64_t seed_;
};

struct Merge {
    static constexpr std::uint32_t kNone = 0xFFFFFFFF;
    std::uint32_t rank = kNone; // lower goes first
    TokenId id = -1;            // what the pair becomes
};

class PairTable {
public:
    explicit PairTable(std::size_t pairs = 0) : slots_(std::bit_ceil(2 * pairs + 2)), seed_(process_hash_seed() | 1) {}

    void insert(TokenId left, TokenId right, Merge merge) { // the first of equal pairs stays
        Slot& slot = slots_[locate(key(left, right))];
        if (slot.key == kFree) slot = {key(left, right), merge};
    }

    Merge find(TokenId left, TokenId right) const { return slots_[locate(key(left, right))].merge; }

private:
    static constexpr std::uint64_t kFree = ~std::uint64_t{0};
    struct Slot {
        std::uint64_t key = kFree;
        Merge merge;
    };

    static std::uint64_t key(TokenId left, TokenId right) {
        return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
    }

    std::size_t locate(std::uint64_t wanted) const {
        const std::size_t mask = slots_.size() - 1;
        std::size_t i = hash_mix(wanted ^ seed_, 0x9E3779B97F4A7C15) & mask;
        while (slots_[i].key != wanted && slots_[i].key != kFree)
            i = (i + 1) & mask;
        return i;
    }

    std::vector<Slot> slots_;
    std::uint64_t seed_;
};

} // namespace lucebox::text
