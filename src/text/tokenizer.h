// Text to token ids and back, as the model's own file defines it.
//
// Built once from GGUF metadata (`tokenizer.ggml.*`); immutable afterwards, any thread. Encoding is linear in the text
// but for the log factor of its longest unbroken piece. No normalisation is applied that the GGUF convention does not have.
#pragma once

#include "base/result.h"
#include "gguf/model_file.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text {

using TokenId = std::int32_t;

enum class TokenKind : std::uint8_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct EncodeOptions {
    bool add_special = false;   // BOS / EOS where the model wants them
    bool parse_special = false; // control tokens written in the text become control tokens: only for trusted text
};

class Tokenizer {
public:
    virtual ~Tokenizer() = default;

    // Errors name the metadata key at fault.
    static Result<std::unique_ptr<Tokenizer>> from_metadata(const gguf::ModelFile& file);

    virtual std::vector<TokenId> encode(std::string_view text, EncodeOptions options = {}) const = 0;

    // The raw bytes one token stands for; empty for unused ones, and for control ones unless `render_special`.
    // Not necessarily whole UTF-8. `id` must be in 0..vocabulary_size().
    virtual std::string token_bytes(TokenId id, bool render_special = false) const = 0;

    // The bytes of a whole sequence (SPM drops the space it put in front of the text).
    virtual std::string decode(std::span<const TokenId> ids, bool render_special = false) const = 0;

    virtual TokenKind kind(TokenId id) const = 0;
    virtual std::int32_t vocabulary_size() const = 0;
    virtual TokenId find(std::string_view token_text) const = 0; // -1 if there is no such token

    virtual TokenId bos() const = 0; // -1 if none
    virtual TokenId eos() const = 0; // -1 if none
    virtual bool adds_bos() const = 0;
    virtual std::span<const TokenId> end_of_generation() const = 0; // sorted
    bool is_end_of_generation(TokenId id) const;
};

// Turns a stream of token bytes into a stream of whole UTF-8: holds back an unfinished character, replaces what can
// never become one by U+FFFD (maximal-subpart rule).
class Utf8Stream {
public:
    std::string push(std::string_view bytes); // what is complete now
    std::string finish();                     // the rest, unfinished parts replaced

private:
    std::string pending_;
};

} // namespace lucebox::text
