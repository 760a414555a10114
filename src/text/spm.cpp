#include "text/spm.h"

#include "text/utf8.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace lucebox::text {
namespace {

constexpr std::string_view kScores = "tokenizer.ggml.scores";
// Each attempt to join two symbols hashes their text, so a file must not make that text long. Real tokens have up to 50
// bytes; longer ones than this are never formed.
constexpr std::size_t kLongestToken = 1024;
constexpr std::size_t kLongestSegment = std::size_t{1} << 30;

// An unsigned number that falls as the score rises: the bits of a float, made monotonic, and turned round.
std::uint32_t rank_of_score(float score) {
    const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F); // -0 becomes 0
    const std::uint32_t ordered = bits >> 31 ? ~bits : bits | 0x80000000U;
    return ~ordered;
}

std::size_t pair_of(char first, char second) {
    return std::size_t{static_cast<unsigned char>(first)} << 8 | static_cast<unsigned char>(second);
}

} // namespace

Result<std::unique_ptr<SpmEncoder>> SpmEncoder::by_scores(const gguf::ModelFile& file, const Vocabulary& vocabulary) {
    LUCEBOX_TRY(const auto scores, file.get_numbers(kScores));
    if (!scores) return Error{ErrorKind::invalid_data, fmt::format("{} is missing", kScores)};
    if (scores->size() != static_cast<std::size_t>(vocabulary.size())) {
        return Error{ErrorKind::invalid_data,
                     fmt::format("{} has {} entries for {} tokens", kScores, scores->size(), vocabulary.size())};
    }
    std::unique_ptr<SpmEncoder> encoder(new SpmEncoder(vocabulary));
    encoder->ranks_.reserve(scores->size());
    for (std::size_t i = 0; i < scores->size(); ++i) {
        const auto score = static_cast<float>((*scores)[i]);
        if (!std::isfinite(score))
            return Error{ErrorKind::invalid_data, fmt::format("{}: the score of token {} is not finite", kScores, i)};
        encoder->ranks_.push_back(rank_of_score(score));
    }
    encoder->finish();
    return encoder;
}

Result<std::unique_ptr<SpmEncoder>> SpmEncoder::by_merges(const gguf::ModelFile& file, const Vocabulary& vocabulary) {
    std::unique_ptr<SpmEncoder> encoder(new SpmEncoder(vocabulary));
    LUCEBOX_TRY(encoder->merges_, load_merges(file, vocabulary));
    encoder->by_merges_ = true;
    encoder->finish();
    return encoder;
}

void SpmEncoder::finish() {
    whole_.resize(static_cast<std::size_t>(vocabulary_.size()));
    for (TokenId id = 0; id < vocabulary_.size(); ++id) {
        const std::string_view text = vocabulary_.bytes(id);
        const TokenKind kind = vocabulary_.kind(id);
        if (kind != TokenKind::normal && kind != TokenKind::user_defined) continue; // no merge leads to it
        longest_ = std::max(longest_, std::min(text.size(), kLongestToken));
        for (std::size_t i = 1; i < text.size(); ++i)
            adjacent_.set(pair_of(text[i - 1], text[i]));
    }
    MergeWorkspace work;
    for (TokenId id = 0; id < vocabulary_.size(); ++id) {
        if (vocabulary_.kind(id) != TokenKind::normal) continue;
        merge_characters(vocabulary_.bytes(id), work);
        whole_[static_cast<std::size_t>(id)] = work.symbols.size() == 1 && work.symbols[0].id == id;
    }
}

void SpmEncoder::merge_characters(std::string_view segment, MergeWorkspace& work) const {
    work.symbols.clear();
    for (std::uint32_t i = 0; i < segment.size();) {
        const DecodedCharacter c = decode_utf8(segment, i);
        // What is no character goes byte by byte, so that it comes back as it was.
        const std::uint32_t bytes = c.kind == DecodedCharacter::Kind::whole ? c.bytes : 1;
        work.symbols.push_back({i, bytes, vocabulary_.find_normal(segment.substr(i, bytes))});
        i += bytes;
    }
    if (by_merges_) {
        work.merge([this](const Symbol& left, const Symbol& right) {
            return left.id < 0 || right.id < 0 ? Merge{} : merges_.find(left.id, right.id);
        });
        return;
    }
    work.merge([this, segment](const Symbol& left, const Symbol& right) {
        const std::size_t bytes = std::size_t{left.bytes} + right.bytes;
        if (bytes > longest_) return Merge{};
        const TokenId id = vocabulary_.find_normal(segment.substr(left.begin, bytes));
        return id < 0 ? Merge{} : Merge{ranks_[static_cast<std::size_t>(id)], id};
    });
}

// Text can be cut, without any change to the outcome, between two bytes that no token has side by side: before most
// spaces, for one. That keeps segments as short as words.
std::size_t SpmEncoder::segment_end(std::string_view section, std::size_t begin) const {
    const std::size_t most = std::min(section.size(), begin + kLongestSegment);
    std::size_t end = begin + 1;
    while (end < most && adjacent_[pair_of(section[end - 1], section[end])])
        ++end;
    return end;
}

void SpmEncoder::append_bytes(std::string_view bytes, std::vector<TokenId>& out) const {
    for (const char byte : bytes) {
        TokenId id = vocabulary_.byte_token(static_cast<unsigned char>(byte));
        // Text is never allowed to become a control token, so <unk> counts only if the file types it as unknown.
        const TokenId unknown = vocabulary_.unknown();
        if (id < 0 && unknown >= 0 && vocabulary_.kind(unknown) == TokenKind::unknown) id = unknown;
        if (id >= 0) out.push_back(id);
    }
}

void SpmEncoder::encode_section(std::string_view section, MergeWorkspace& work, std::vector<TokenId>& out) const {
    for (std::size_t begin = 0; begin < section.size();) {
        const std::size_t end = segment_end(section, begin);
        const std::string_view segment = section.substr(begin, end - begin);
        begin = end;
        const TokenId whole = segment.size() <= longest_ ? vocabulary_.find_normal(segment) : -1;
        if (whole >= 0 && whole_[static_cast<std::size_t>(whole)]) {
            out.push_back(whole);
            continue;
        }
        merge_characters(segment, work);
        for (const Symbol& symbol : work.symbols) {
            if (symbol.id >= 0) {
                out.push_back(symbol.id);
            } else {
                append_bytes(segment.substr(symbol.begin, symbol.bytes), out);
            }
        }
    }
}

void SpmEncoder::encode(std::string_view fragment, MergeWorkspace& work, std::vector<TokenId>& out) const {
    if (!by_merges_) return encode_section(fragment, work, out);

    while (!fragment.empty()) { // Gemma 4: runs of newlines apart, whole if there is a token for the run
        const bool newlines = fragment[0] == '\n';
        std::size_t end = newlines ? fragment.find_first_not_of('\n') : fragment.find('\n');
        end = std::min(end, fragment.size());
        const std::string_view section = fragment.substr(0, end);
        fragment.remove_prefix(end);
        const TokenId run = newlines ? vocabulary_.find_normal(section) : -1;
        if (run >= 0) {
            out.push_back(run);
        } else {
            encode_section(section, work, out);
        }
    }
}

} // namespace lucebox::text
