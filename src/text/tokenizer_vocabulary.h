// The tokens of a model and what its metadata says about them: bytes, kinds, special ids, end-of-generation set.
//
// load() checks every `tokenizer.ggml.*` key that it reads; errors name the key. Immutable afterwards; any thread.
#pragma once

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer_tables.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text {

// How a file spells the bytes of its ordinary tokens.
enum class Spelling : std::uint8_t {
    byte_alphabet, // one printable code point for each byte (GPT-2's table)
    sentence,      // as text, with U+2581 for the space
};

constexpr std::string_view kSpaceMark = "\xE2\x96\x81"; // U+2581

// Appends `text` with each mark replaced by a space.
void append_with_spaces(std::string& out, std::string_view text);

class Vocabulary {
public:
    static Result<Vocabulary> load(const gguf::ModelFile& file, Spelling spelling);

    std::int32_t size() const { return static_cast<std::int32_t>(kinds_.size()); }
    TokenKind kind(TokenId id) const { return kinds_[static_cast<std::size_t>(id)]; }

    // What the token stands for in text; the literal name of control, unknown and unused ones.
    std::string_view bytes(TokenId id) const {
        const auto i = static_cast<std::size_t>(id);
        return std::string_view(blob_).substr(offsets_[i], offsets_[i + 1] - offsets_[i]);
    }

    TokenId find_normal(std::string_view bytes) const { return normal_.find(bytes, key_of()); }
    TokenId find_special(std::string_view name) const {
        return special_.find(name, key_of());
    }                                                      // not normal, byte, unused
    TokenId find_spelled(std::string_view spelling) const; // any token, as the file writes it; while loading
    TokenId byte_token(unsigned char byte) const { return byte_tokens_[byte]; } // of kind `byte`; -1: none

    TokenId bos() const { return bos_; }
    TokenId eos() const { return eos_; }
    TokenId unknown() const { return unknown_; }
    const std::vector<TokenId>& end_of_generation() const { return end_of_generation_; }

    void forget_spellings(); // they are needed for the merges only

private:
    struct KeyOf {
        const Vocabulary* vocabulary;
        std::string_view operator()(TokenId id) const { return vocabulary->bytes(id); }
    };
    KeyOf key_of() const { return {this}; }

    Status load_kinds(const gguf::ModelFile& file);
    Status load_special_ids(const gguf::ModelFile& file);
    Status load_bytes(Spelling spelling);
    void collect_end_of_generation(std::string_view model, std::string_view architecture);

    std::vector<TokenKind> kinds_;
    std::string blob_;
    std::vector<std::uint32_t> offsets_; // size() + 1
    TextTable normal_, special_, spelled_;
    const std::vector<std::string>* spellings_ = nullptr; // in the file; until forget_spellings()
    std::array<TokenId, 256> byte_tokens_{};
    TokenId bos_ = -1, eos_ = -1, unknown_ = -1;
    std::vector<TokenId> end_of_generation_; // sorted
};

} // namespace lucebox::text
