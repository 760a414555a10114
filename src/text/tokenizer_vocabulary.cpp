#include "text/tokenizer_vocabulary.h"

#include "text/utf8.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <optional>
#include <random>

namespace lucebox::text {
namespace {

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTypes = "tokenizer.ggml.token_type";

Error invalid(std::string message) {
    return {ErrorKind::invalid_data, std::move(message)};
}

// GPT-2's byte alphabet, inverted: bytes that are printable in Latin-1 stand for themselves, the other 68, in
// increasing order, are U+0100 and up.
constexpr std::array<std::int16_t, 0x144> kByteOfAlphabet = [] {
    std::array<std::int16_t, 0x144> table{};
    for (auto& entry : table)
        entry = -1;
    std::size_t next = 0x100;
    for (std::int16_t byte = 0; byte < 256; ++byte) {
        const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        table[printable ? static_cast<std::size_t>(byte) : next++] = byte;
    }
    return table;
}();

// Appends the bytes that `spelling` stands for; as it is written if it isn't all of the alphabet.
void append_from_alphabet(std::string& out, std::string_view spelling) {
    const std::size_t before = out.size();
    for (std::size_t i = 0; i < spelling.size();) {
        const DecodedCharacter c = decode_utf8(spelling, i);
        if (c.code_point >= kByteOfAlphabet.size() || kByteOfAlphabet[c.code_point] < 0) {
            out.resize(before);
            out.append(spelling);
            return;
        }
        out.push_back(static_cast<char>(kByteOfAlphabet[c.code_point]));
        i += c.bytes;
    }
}

// <0x00> .. <0xFF>
std::optional<unsigned char> byte_of_name(std::string_view name) {
    if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') return std::nullopt;
    unsigned value = 0;
    for (const char c : name.substr(3, 2)) {
        const bool digit = c >= '0' && c <= '9';
        const bool upper = c >= 'A' && c <= 'F';
        const bool lower = c >= 'a' && c <= 'f';
        if (!digit && !upper && !lower) return std::nullopt;
        value = value * 16 + static_cast<unsigned>(digit ? c - '0' : 10 + (upper ? c - 'A' : c - 'a'));
    }
    return static_cast<unsigned char>(value);
}

// Names at which generation ends whichever key the file has for them: files often list one of several. Kinds are not to
// be trusted for these, but for two that are ordinary text elsewhere (gemma knows </s> as an HTML tag).
struct EndName {
    std::string_view name;
    bool only_if_control = false;
    std::string_view only_for = {}; // a tokenizer.ggml.model or an architecture
};
constexpr std::array kEndNames = {
    EndName{"<|im_end|>"},
    EndName{"<|endoftext|>"},
    EndName{"<|end_of_text|>"},
    EndName{"<|eot_id|>"},
    EndName{"<|eom_id|>"},
    EndName{"<|end|>"},
    EndName{"<|EOT|>"},
    EndName{"<end_of_turn>"},
    EndName{"<eos>"},
    EndName{"<\uFF5Cend\u2581of\u2581sentence\uFF5C>"},
    EndName{"</s>", true},
    EndName{"<|fim_pad|>", true}, // what base models write between files
    EndName{"<|repo_name|>", true},
    EndName{"<|file_sep|>", true},
    EndName{"<turn|>", false, "gemma4"},
    EndName{"<|tool_response>", false, "gemma4"}, // the model waits for a tool's result
    EndName{"</assistant>", false, "laguna"},
};

} // namespace

void append_with_spaces(std::string& out, std::string_view text) {
    for (std::size_t mark = text.find(kSpaceMark); mark != std::string_view::npos; mark = text.find(kSpaceMark)) {
        out.append(text.substr(0, mark)).push_back(' ');
        text.remove_prefix(mark + kSpaceMark.size());
    }
    out.append(text);
}

std::uint64_t process_hash_seed() {
    static const std::uint64_t seed = [] {
        std::random_device random;
        return std::uint64_t{random()} << 32 | random();
    }();
    return seed;
}

Result<Vocabulary> Vocabulary::load(const gguf::ModelFile& file, Spelling spelling) {
    Vocabulary v;
    v.spellings_ = file.get_strings(kTokens);
    if (v.spellings_ == nullptr || v.spellings_->empty())
        return invalid(fmt::format("{} is missing or no list of strings", kTokens));
    std::uint64_t bytes = 0;
    for (const std::string& token : *v.spellings_)
        bytes += token.size();
    constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max() / 4;
    if (v.spellings_->size() > kMost || bytes > kMost) return invalid(fmt::format("{} is too large", kTokens));

    LUCEBOX_CHECK(v.load_kinds(file));
    LUCEBOX_CHECK(v.load_special_ids(file));
    LUCEBOX_TRY(const auto model, file.get_string("tokenizer.ggml.model"));
    LUCEBOX_TRY(const auto architecture, file.get_string("general.architecture"));

    v.spelled_ = TextTable(v.spellings_->size());
    for (TokenId id = 0; id < v.size(); ++id)
        v.spelled_.insert(id,
                          [&](TokenId i) -> std::string_view { return (*v.spellings_)[static_cast<std::size_t>(i)]; });
    v.collect_end_of_generation(model.value_or(""), architecture.value_or(""));
    LUCEBOX_CHECK(v.load_bytes(spelling));
    return v;
}

Status Vocabulary::load_kinds(const gguf::ModelFile& file) {
    kinds_.assign(spellings_->size(), TokenKind::normal);
    LUCEBOX_TRY(const auto types, file.get_integers(kTypes));
    if (!types) return Ok{};
    if (types->size() != kinds_.size())
        return invalid(fmt::format("{} has {} entries for {} tokens", kTypes, types->size(), kinds_.size()));
    for (std::size_t i = 0; i < types->size(); ++i) {
        if ((*types)[i] < 1 || (*types)[i] > 6)
            return invalid(fmt::format("{}: token {} has the unknown type {}", kTypes, i, (*types)[i]));
        kinds_[i] = static_cast<TokenKind>((*types)[i]);
    }
    return Ok{};
}

Status Vocabulary::load_special_ids(const gguf::ModelFile& file) {
    const auto read = [&](std::string_view name, TokenId& id) -> Status {
        const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
        LUCEBOX_TRY(const auto value, file.get_integer(key));
        // -1, also as 32 unsigned bits, is how converters write "none".
        if (!value || *value == -1 || *value == 0xFFFFFFFF) return Ok{};
        if (*value < 0 || *value >= size())
            return invalid(fmt::format("{} is {}, but there are {} tokens", key, *value, size()));
        id = static_cast<TokenId>(*value);
        return Ok{};
    };
    LUCEBOX_CHECK(read("bos", bos_));
    LUCEBOX_CHECK(read("eos", eos_));
    LUCEBOX_CHECK(read("unknown", unknown_));
    for (const std::string_view name : {"eos", "eot", "eom"}) {
        TokenId id = -1;
        LUCEBOX_CHECK(read(name, id));
        if (id >= 0) end_of_generation_.push_back(id);
    }
    return Ok{};
}

// An end-of-generation token that the file calls ordinary or user-defined would be cut out of users' text and end the
// turn there: it is a control token, whatever the file says.
void Vocabulary::collect_end_of_generation(std::string_view model, std::string_view architecture) {
    for (const EndName& end : kEndNames) {
        if (!end.only_for.empty() && end.only_for != model && end.only_for != architecture) continue;
        const TokenId id = find_spelled(end.name);
        if (id < 0 || (end.only_if_control && kind(id) != TokenKind::control)) continue;
        end_of_generation_.push_back(id);
    }
    std::sort(end_of_generation_.begin(), end_of_generation_.end());
    end_of_generation_.erase(std::unique(end_of_generation_.begin(), end_of_generation_.end()),
                             end_of_generation_.end());
    for (const TokenId id : end_of_generation_)
        kinds_[static_cast<std::size_t>(id)] = TokenKind::control;
}

Status Vocabulary::load_bytes(Spelling spelling) {
    byte_tokens_.fill(-1);
    offsets_.reserve(kinds_.size() + 1);
    offsets_.push_back(0);
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
        const std::string& name = (*spellings_)[i];
        const bool sentence = spelling == Spelling::sentence;
        if (kinds_[i] == TokenKind::byte) {
            const auto byte = byte_of_name(name);
            if (!byte) return invalid(fmt::format("{}: token {} is of type byte, but not named <0x..>", kTokens, i));
            blob_.push_back(static_cast<char>(*byte));
            if (byte_tokens_[*byte] < 0) byte_tokens_[*byte] = static_cast<TokenId>(i);
        } else if (kinds_[i] == TokenKind::normal && !sentence) {
            append_from_alphabet(blob_, name);
        } else if (sentence && (kinds_[i] == TokenKind::normal || kinds_[i] == TokenKind::user_defined)) {
            append_with_spaces(blob_, name);
        } else {
            blob_.append(name);
        }
        offsets_.push_back(static_cast<std::uint32_t>(blob_.size()));
    }
    const auto count = [&](TokenKind kind) {
        return static_cast<std::size_t>(std::count(kinds_.begin(), kinds_.end(), kind));
    };
    normal_ = TextTable(count(TokenKind::normal));
    special_ = TextTable(count(TokenKind::control) + count(TokenKind::unknown) + count(TokenKind::user_defined));
    for (TokenId id = 0; id < size(); ++id) {
        if (bytes(id).empty()) continue; // nothing to be found by
        if (kind(id) == TokenKind::normal) {
            normal_.insert(id, key_of());
        } else if (kind(id) != TokenKind::byte && kind(id) != TokenKind::unused) {
            special_.insert(id, key_of());
        }
    }
    return Ok{};
}

TokenId Vocabulary::find_spelled(std::string_view spelling) const {
    return spelled_.find(spelling,
                         [&](TokenId i) -> std::string_view { return (*spellings_)[static_cast<std::size_t>(i)]; });
}

void Vocabulary::forget_spellings() {
    spelled_ = TextTable();
    spellings_ = nullptr;
}

} // namespace lucebox::text
