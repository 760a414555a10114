#include "text/bpe.h"

#include "gguf/byte_reader.h"

#include <fmt/format.h>

namespace lucebox::text {
namespace {

constexpr std::string_view kMerges = "tokenizer.ggml.merges";

// Symbols count bytes in 32 bits; nothing legitimate has pieces of this size.
constexpr std::size_t kLongestPiece = std::size_t{1} << 30;

Error invalid(std::string message) {
    return {ErrorKind::invalid_data, std::move(message)};
}

} // namespace

Result<PairTable> load_merges(const gguf::ModelFile& file, const Vocabulary& vocabulary) {
    const std::vector<std::string>* lines = file.get_strings(kMerges);
    if (lines == nullptr) return invalid(fmt::format("{} is missing or no list of strings", kMerges));
    if (lines->size() >= Merge::kNone) return invalid(fmt::format("{} is too large", kMerges));
    PairTable merges(lines->size());
    std::string joined;
    for (std::size_t rank = 0; rank < lines->size(); ++rank) {
        const std::string_view line = (*lines)[rank];
        const std::size_t space = line.find(' ', 1);
        if (space == std::string_view::npos || space + 1 == line.size())
            return invalid(fmt::format("{}: entry {} is not two tokens with a space between", kMerges, rank));
        const std::string_view left = line.substr(0, space);
        const std::string_view right = line.substr(space + 1);
        joined.assign(left).append(right);
        TokenId ids[3];
        std::size_t found = 0;
        for (const std::string_view part : {left, right, std::string_view(joined)}) {
            ids[found] = vocabulary.find_spelled(part);
            if (ids[found++] < 0)
                return invalid(
                    fmt::format("{}: entry {} needs {}, which is no token", kMerges, rank, gguf::printable(part)));
        }
        const TokenKind kind = vocabulary.kind(ids[2]);
        if (kind != TokenKind::normal && kind != TokenKind::user_defined) continue;
        merges.insert(ids[0], ids[1], {static_cast<std::uint32_t>(rank), ids[2]});
    }
    return merges;
}

BpeEncoder::BpeEncoder(const Vocabulary& vocabulary, PairTable merges, PretokenizerRules rules, bool whole_pieces_first)
    : vocabulary_(vocabulary), merges_(std::move(merges)), rules_(rules),
      whole_(static_cast<std::size_t>(vocabulary.size())) {
    for (std::size_t byte = 0; byte < bytes_.size(); ++byte) {
        const char text = static_cast<char>(byte);
        bytes_[byte] = vocabulary.find_normal({&text, 1});
    }
    MergeWorkspace work;
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
        if (vocabulary.kind(id) != TokenKind::normal) continue;
        if (!whole_pieces_first) merge_bytes(vocabulary.bytes(id), work);
        whole_[static_cast<std::size_t>(id)] =
            whole_pieces_first || (work.symbols.size() == 1 && work.symbols[0].id == id);
    }
}

void BpeEncoder::merge_bytes(std::string_view piece, MergeWorkspace& work) const {
    work.symbols.clear();
    for (std::uint32_t i = 0; i < piece.size(); ++i) {
        const TokenId id = bytes_[static_cast<unsigned char>(piece[i])];
        if (id >= 0) work.symbols.push_back({i, 1, id});
    }
    work.merge([this](const Symbol& left, const Symbol& right) { return merges_.find(left.id, right.id); });
}

void BpeEncoder::encode(std::string_view fragment, MergeWorkspace& work, std::vector<TokenId>& out) const {
    PieceScanner scanner(rules_, fragment);
    for (std::string_view piece = scanner.next(); !piece.empty(); piece = scanner.next()) {
        const TokenId whole = vocabulary_.find_normal(piece);
        if (whole >= 0 && whole_[static_cast<std::size_t>(whole)]) {
            out.push_back(whole);
            continue;
        }
        for (; !piece.empty(); piece.remove_prefix(std::min(piece.size(), kLongestPiece))) {
            merge_bytes(piece.substr(0, kLongestPiece), work);
            for (const Symbol& symbol : work.symbols)
                out.push_back(symbol.id);
        }
    }
}

} // namespace lucebox::text
