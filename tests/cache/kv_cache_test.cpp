// What a sequence leaves behind: how much memory it takes, that a fresh slot remembers nothing, and that slots do not
// touch each other.
#include "cache/kv_cache.h"
#include "compute/cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace lucebox::cache {
namespace {

const std::vector<LayerShape> shapes{AttentionShape{2, 48}, RecurrentShape{96, 4, 3, 16}, AttentionShape{1, 64}};

class KvCache : public ::testing::Test {
protected:
    std::unique_ptr<compute::Device> device = compute::cpu::make_device({.threads = 1, .reference = false});

    Cache create(CacheOptions options) {
        auto cache = Cache::create(*device, shapes, options);
        EXPECT_TRUE(cache);
        return std::move(*cache);
    }
    static std::span<float> state(const Cache& cache, std::size_t slot) {
        return {cache.recurrent(1).state + slot * 3 * 16 * 16, 3 * 16 * 16};
    }
    static std::span<float> conv(const Cache& cache, std::size_t slot) { return {cache.recurrent(1).conv + slot * 3 * 96, 3 * 96}; }
};

TEST_F(KvCache, TakesTheMemoryThatItsTokensNeed) {
    const Cache f32 = create({.slots = 2, .capacity = 128, .kv_type = compute::DType::f32});
    const Cache f16 = create({.slots = 2, .capacity = 128, .kv_type = compute::DType::f16});
    const std::size_t values = 2 * 128 * (2 * 48 + 64) * 2; // slots, tokens, heads times dimensions, keys and values
    EXPECT_EQ(f32.kv_bytes(), values * 4);
    EXPECT_EQ(f16.kv_bytes(), values * 2);
    const Cache q8_0 = create({.slots = 2, .capacity = 128, .kv_type = compute::DType::q8_0});
    EXPECT_EQ(q8_0.kv_bytes(), 2 * 128 * ((2 * 48 + 64) + 2 * (2 * 2 + 2)) * 2u); // codes, and scales of 2 bytes for each 32
    EXPECT_EQ(f32.recurrent_bytes(), f16.recurrent_bytes());
    EXPECT_GE(f32.recurrent_bytes(), 2u * (3 * 16 * 16 + 3 * 96) * 4);
    const Cache twice = create({.slots = 4, .capacity = 128, .kv_type = compute::DType::f32});
    EXPECT_EQ(twice.kv_bytes(), 2 * f32.kv_bytes());
    EXPECT_EQ(twice.recurrent_bytes(), 2 * f32.recurrent_bytes());
}

TEST_F(KvCache, ViewsSayWhatTheyHold) {
    const Cache cache = create({.slots = 3, .capacity = 100, .kv_type = compute::DType::f16});
    for (const std::size_t layer : {std::size_t{0}, std::size_t{2}}) {
        const compute::KvView& view = cache.kv(layer);
        EXPECT_NE(view.k, nullptr);
        EXPECT_NE(view.v, nullptr);
        EXPECT_EQ(view.slots, 3u);
        EXPECT_GE(view.capacity, 100u);
        EXPECT_EQ(view.type, compute::DType::f16);
    }
    EXPECT_EQ(cache.kv(0).kv_heads, 2u);
    EXPECT_EQ(cache.kv(0).head_dim, 48u);
    EXPECT_EQ(cache.kv(2).head_dim, 64u);
    EXPECT_NE(cache.kv(0).k, cache.kv(2).k);
}

TEST_F(KvCache, ClearingASlotForgetsItAndNoOther) {
    const Cache made = create({.slots = 3, .capacity = 64, .kv_type = compute::DType::f16});
    Cache cache = create({.slots = 3, .capacity = 64, .kv_type = compute::DType::f16});
    for (std::size_t slot = 0; slot < 3; ++slot) {
        EXPECT_TRUE(std::ranges::all_of(state(cache, slot), [](float value) { return value == 0; })); // fresh from the start
        std::ranges::fill(state(cache, slot), 1.0f + static_cast<float>(slot));
        std::ranges::fill(conv(cache, slot), 1.0f + static_cast<float>(slot));
    }
    cache.clear(1);
    for (std::size_t slot = 0; slot < 3; ++slot) {
        const float expected = slot == 1 ? 0.0f : 1.0f + static_cast<float>(slot);
        EXPECT_TRUE(std::ranges::all_of(state(cache, slot), [&](float value) { return value == expected; })) << slot;
        EXPECT_TRUE(std::ranges::all_of(conv(cache, slot), [&](float value) { return value == expected; })) << slot;
    }
}

TEST(KvCacheMemory, WhatDoesNotFitIsRefused) {
    const auto device = compute::cpu::make_device({.threads = 1, .reference = false});
    CacheOptions options;
    options.slots = 1 << 10;
    options.capacity = std::size_t{1} << 40;
    const auto cache = Cache::create(*device, {AttentionShape{8, 128}}, options);
    ASSERT_FALSE(cache);
    EXPECT_EQ(cache.error().kind, ErrorKind::out_of_memory);
}

} // namespace
} // namespace lucebox::cache
