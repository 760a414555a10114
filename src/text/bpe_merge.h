// The merging loop that byte-level BPE and SentencePiece share.
//
// Of all adjacent pairs that may merge, the one of the lowest rank does, the leftmost of equals; until none may. Short
// pieces scan for it, long ones keep a heap: O(n log n) for n symbols. The workspace is reused from piece to piece and
// belongs to one call of encode(); the lookup is only read.
#pragma once

#include "text/tokenizer_tables.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

namespace lucebox::text {

struct Symbol {
    std::uint32_t begin; // within the piece
    std::uint32_t bytes;
    TokenId id; // -1: no token
};

class MergeWorkspace {
public:
    std::vector<Symbol> symbols; // in: the piece, cut as finely as it can be; out: merged

    // `lookup(left, right)` gives the Merge of two adjacent symbols, rank kNone if there is none.
    template <class Lookup>
    void merge(const Lookup& lookup) {
        if (symbols.size() < 2) return;
        // 48: from there on, scanning all ranks for each merge costs more than the heap.
        if (symbols.size() <= 48) {
            merge_short(lookup);
        } else {
            merge_long(lookup);
        }
    }

private:
    struct Link {
        std::uint32_t previous, next; // kEnd: none
    };
    static constexpr std::uint32_t kEnd = 0xFFFFFFFF;

    template <class Lookup>
    void merge_short(const Lookup& lookup) {
        std::size_t count = symbols.size();
        merges_.resize(count);
        for (std::size_t i = 0; i + 1 < count; ++i)
            merges_[i] = lookup(symbols[i], symbols[i + 1]);
        while (count > 1) {
            std::size_t best = 0;
            for (std::size_t i = 1; i + 1 < count; ++i)
                if (merges_[i].rank < merges_[best].rank) best = i;
            if (merges_[best].rank == Merge::kNone) break;
            symbols[best].bytes += symbols[best + 1].bytes;
            symbols[best].id = merges_[best].id;
            for (std::size_t i = best + 1; i + 1 < count; ++i) {
                symbols[i] = symbols[i + 1];
                merges_[i] = merges_[i + 1];
            }
            --count;
            if (best > 0) merges_[best - 1] = lookup(symbols[best - 1], symbols[best]);
            if (best + 1 < count) merges_[best] = lookup(symbols[best], symbols[best + 1]);
        }
        symbols.resize(count);
    }

    template <class Lookup>
    void merge_long(const Lookup& lookup) {
        const auto count = static_cast<std::uint32_t>(symbols.size());
        merges_.resize(count);
        links_.resize(count);
        heap_.clear();
        for (std::uint32_t i = 0; i < count; ++i) {
            links_[i] = {i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1};
            merges_[i] = i + 1 < count ? lookup(symbols[i], symbols[i + 1]) : Merge{};
            if (merges_[i].rank != Merge::kNone) heap_.push_back(heap_key(i));
        }
        std::make_heap(heap_.begin(), heap_.end(), std::greater<>{});
        while (!heap_.empty()) {
            const std::uint64_t key = heap_.front();
            std::pop_heap(heap_.begin(), heap_.end(), std::greater<>{});
            heap_.pop_back();
            const auto left = static_cast<std::uint32_t>(key);
            // An entry is stale unless its pair still has the rank it was queued with.
            if (merges_[left].rank == key >> 32) merge_at(left, lookup);
        }
        std::uint32_t kept = 0;
        for (std::uint32_t i = 0; i != kEnd; i = links_[i].next)
            symbols[kept++] = symbols[i];
        symbols.resize(kept);
    }

    template <class Lookup>
    void merge_at(std::uint32_t left, const Lookup& lookup) {
        const std::uint32_t right = links_[left].next;
        symbols[left].bytes += symbols[right].bytes;
        symbols[left].id = merges_[left].id;
        merges_[right] = {}; // whatever is still queued for it is stale
        links_[left].next = links_[right].next;
        merges_[left] = {};
        if (const std::uint32_t next = links_[left].next; next != kEnd) {
            links_[next].previous = left;
            queue(left, lookup(symbols[left], symbols[next]));
        }
        if (const std::uint32_t previous = links_[left].previous; previous != kEnd)
            queue(previous, lookup(symbols[previous], symbols[left]));
    }

    void queue(std::uint32_t left, Merge merge) {
        merges_[left] = merge;
        if (merge.rank == Merge::kNone) return;
        heap_.push_back(heap_key(left));
        std::push_heap(heap_.begin(), heap_.end(), std::greater<>{});
    }

    // Ordered by rank, then from left to right.
    std::uint64_t heap_key(std::uint32_t left) const { return std::uint64_t{merges_[left].rank} << 32 | left; }

    std::vector<Merge> merges_; // of each symbol with its right neighbour
    std::vector<Link> links_;
    std::vector<std::uint64_t> heap_;
};

} // namespace lucebox::text
