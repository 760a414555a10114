// Which tokens stay inside a rule of a grammar, found once and kept for all answers and all grammars of a vocabulary.
//
// To find it every token is looked at, which takes milliseconds; and most rules, first of all the text of a JSON string, are
// the same in every schema. They are known by their structure, which the matcher writes down. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lucebox::text {

struct TokensInside {
    std::vector<std::uint64_t> mask; // of tokens that stay inside
    // Of a loop: those tokens with the iterations that they begin, fewest first. Whether these may be several: then nothing here holds.
    std::vector<std::pair<std::uint16_t, std::int32_t>> begun;
    bool ambiguous = false;
    std::vector<std::vector<std::uint64_t>> few; // masks of the tokens that begin at most so many, where those are few and the tokens many
    // Trie nodes in front of which the rule may end, by their byte: behind most rules only a few bytes may come, and the text
    // of a string may end anywhere.
    std::vector<std::uint32_t> exits;
    std::vector<std::uint16_t> left;           // of a loop: the iterations behind it at that exit
    std::array<std::uint32_t, 257> exits_of{}; // exits[exits_of[b]..exits_of[b + 1]] have the byte b

    std::size_t bytes() const {
        return mask.size() * (1 + few.size()) * 8 + begun.size() * sizeof begun[0] + exits.size() * 4 + left.size() * 2 + sizeof *this + 128;
    }
};

class InsideCache {
public:
    using Pointer = std::shared_ptr<const TokensInside>;
    static constexpr std::size_t most_bytes = 48u << 20;

    Pointer find(const std::string& structure) const {
        const std::lock_guard lock(mutex_);
        const auto at = kept_.find(structure);
        return at == kept_.end() ? nullptr : at->second;
    }
    void keep(const std::string& structure, Pointer inside) {
        const std::size_t bytes = structure.size() + inside->bytes();
        const std::lock_guard lock(mutex_);
        if (bytes_ + bytes > most_bytes) { // hostile grammars only: honest ones have a few dozen
            kept_.clear();
            bytes_ = 0;
        }
        if (kept_.emplace(structure, std::move(inside)).second) bytes_ += bytes;
    }

private:
    mutable std::mutex mutex_;
    std::unordered_map<std::string, Pointer> kept_;
    std::size_t bytes_ = 0;
};

} // namespace lucebox::text
