// Nothing is allocated once decoding goes: memory is planned at load. Every operator new of this program is counted; what
// is counted is the thread pool's threads, too.
#include "oracle.h"

#include "model/draft_runner.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<bool> counting{false};
std::atomic<std::size_t> allocations{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
    if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
    void* at = alignment > alignof(std::max_align_t) ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
                                                     : std::malloc(bytes > 0 ? bytes : 1);
    if (!at) throw std::bad_alloc();
    return at;
}

} // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, 0); }
void* operator new[](std::size_t bytes) { return allocate(bytes, 0); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, static_cast<std::size_t>(alignment)); }
void* operator new[](std::size_t bytes, std::align_val_t alignment) { return allocate(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* at) noexcept { std::free(at); }
void operator delete[](void* at) noexcept { std::free(at); }
void operator delete(void* at, std::size_t) noexcept { std::free(at); }
void operator delete[](void* at, std::size_t) noexcept { std::free(at); }
void operator delete(void* at, std::align_val_t) noexcept { std::free(at); }
void operator delete[](void* at, std::align_val_t) noexcept { std::free(at); }
void operator delete(void* at, std::size_t, std::align_val_t) noexcept { std::free(at); }
void operator delete[](void* at, std::size_t, std::align_val_t) noexcept { std::free(at); }

namespace lucebox::model::testing {
namespace {

template <class Function> std::size_t allocations_in(Function function) {
    allocations = 0;
    counting = true;
    function();
    counting = false;
    return allocations;
}

class Allocation : public ::testing::TestWithParam<const char*> {
protected:
    // The device under test: another one is another Rig.
    Rig rig{oracle_path(GetParam()) / "model.gguf", {.context = 512, .sequences = 2, .rows = 64, .kv_type = {}},
            {.threads = 1, .reference = false}};
};

TEST_P(Allocation, TheCounterCounts) {
    EXPECT_GT(allocations_in([] { std::vector<int> values(1000); values[0] = 1; }), 0u);
}

TEST_P(Allocation, PlainDecodingAllocatesNothing) {
    const SequenceId a = rig.open(), b = rig.open();
    const std::vector<Row> rows{{a, 5, -1, true}, {b, 6, -1, true}};
    const std::vector<std::uint64_t> mask(4, 0x1234'5678'9abc'def1);
    const auto step = [&] {
        ASSERT_TRUE(rig.runner->step(rows, Commit::all));
        ASSERT_EQ(rig.runner->logits(0).size(), rig.runner->vocabulary());
        ASSERT_EQ(rig.runner->logits(1).size(), rig.runner->vocabulary());
        ASSERT_GE(rig.runner->best(1), 0);
        ASSERT_GT(rig.runner->sureness(1), 0.0f);
        rig.runner->ask(0, {.temperature = 1, .share = 0.9f});
        rig.runner->ask(1, {.masked = 1, .temperature = 1, .count = 20}, mask);
        ASSERT_GT(rig.runner->summary(0).row->found, 0u);
        ASSERT_GT(rig.runner->summary(1).row->found, 0u);
        ASSERT_EQ(rig.runner->logits(1, 0, 10).size(), 10u);
    };
    for (int i = 0; i < 3; ++i) step();
    EXPECT_EQ(allocations_in([&] {
        for (int i = 0; i < 20; ++i) step();
    }), 0u);
}

TEST_P(Allocation, TreesAndTheirCommitsAllocateNothing) {
    const SequenceId a = rig.open();
    std::vector<Row> tree;
    for (std::int32_t i = 0; i < 24; ++i) tree.push_back({a, 3 + i, i == 0 ? -1 : (i - 1) / 2, true});
    const std::vector<std::int32_t> path{0, 2, 5, 11};
    const auto step = [&] {
        ASSERT_TRUE(rig.runner->step(tree, Commit::later));
        ASSERT_EQ(rig.runner->logits(11).size(), rig.runner->vocabulary());
        ASSERT_TRUE(rig.runner->commit(a, path));
    };
    for (int i = 0; i < 3; ++i) step();
    EXPECT_EQ(allocations_in([&] {
        for (int i = 0; i < 20; ++i) step();
    }), 0u);
}

// What is refused leaves the room for what comes as it was.
TEST_P(Allocation, StepsBehindARefusedOneAllocateNothing) {
    const SequenceId a = rig.open();
    const std::vector<Row> row{{a, 5, -1, true}}, nonsense{{a, -1, -1, true}};
    const auto step = [&] {
        ASSERT_TRUE(rig.runner->step(row, Commit::all));
        ASSERT_GE(rig.runner->best(0), 0);
    };
    for (int i = 0; i < 3; ++i) step();
    EXPECT_FALSE(rig.runner->step(nonsense, Commit::all));
    EXPECT_EQ(allocations_in(step), 0u);
}

// The draft proposes, the target verifies, both go on behind what stays.
TEST(DraftAllocation, SpeculatingAllocatesNothing) {
    const std::filesystem::path folder = oracle_path("dflash-qwen35");
    Rig rig(folder / "model.gguf", {.context = 512, .sequences = 2, .rows = 64, .kv_type = {}},
            compute::cpu::CpuOptions{.threads = 1, .reference = false});
    const auto file = DflashFile::open(folder / "draft.gguf");
    ASSERT_TRUE(file);
    const auto loaded = DraftRunner::load(*file, *rig.device, *rig.runner);
    ASSERT_TRUE(loaded);
    DraftRunner& draft = **loaded;
    const SequenceId a = rig.open(), b = rig.open();
    const std::vector<DraftRunner::Block> blocks{{a, 5}, {b, 6}};
    std::vector<Row> rows;
    for (const SequenceId sequence : {a, b}) {
        for (std::int32_t i = 0; i < 4; ++i) {
            const auto row = static_cast<std::int32_t>(rows.size());
            rows.push_back({sequence, 5 + i, i == 0 ? -1 : row - 1, true});
        }
    }
    const std::vector<std::int32_t> kept_a{0, 1}, kept_b{4, 5, 6};
    const auto step = [&] {
        draft.propose(blocks, 3, 2);
        ASSERT_EQ(draft.tokens(1, 3).size(), 2u);
        ASSERT_TRUE(rig.runner->step(rows, Commit::later));
        ASSERT_GE(rig.runner->best(7), 0);
        ASSERT_TRUE(rig.runner->commit(a, kept_a));
        ASSERT_TRUE(rig.runner->commit(b, kept_b));
        draft.append(a, kept_a);
        draft.append(b, kept_b);
    };
    for (int i = 0; i < 3; ++i) step();
    EXPECT_EQ(allocations_in([&] {
        for (int i = 0; i < 20; ++i) step();
    }), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, Allocation, ::testing::Values("llama", "gemma3", "qwen35"));

} // namespace
} // namespace lucebox::model::testing
