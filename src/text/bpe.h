// Byte-level BPE: text is cut into pieces, each piece starts as single bytes, and the file's merges join them by rank.
//
// Immutable once built; any thread, each call with its own workspace. The vocabulary must outlive the encoder.
#pragma once

#include "text/bpe_merge.h"
#include "text/pretokenizer.h"
#include "text/tokenizer_vocabulary.h"

#include <memory>
#include <string_view>
#include <vector>

namespace lucebox::text {

// Encodes text that holds no special tokens.
class FragmentEncoder {
public:
    virtual ~FragmentEncoder() = default;
    virtual void encode(std::string_view fragment, MergeWorkspace& work, std::vector<TokenId>& out) const = 0;
};

// `tokenizer.ggml.merges`: "left right", best first, split at the first space behind the first byte. Both parts and
// what they make must be tokens. A merge that would make a control or unused token is left out: text never turns into
// one.
Result<PairTable> load_merges(const gguf::ModelFile& file, const Vocabulary& vocabulary);

class BpeEncoder final : public FragmentEncoder {
public:
    // `whole_pieces_first`: a piece that is a token becomes that token, even where the merges lead elsewhere.
    BpeEncoder(const Vocabulary& vocabulary, PairTable merges, PretokenizerRules rules, bool whole_pieces_first);

    void encode(std::string_view fragment, MergeWorkspace& work, std::vector<TokenId>& out) const override;

private:
    void merge_bytes(std::string_view piece, MergeWorkspace& work) const;

    const Vocabulary& vocabulary_;
    PairTable merges_;
    PretokenizerRules rules_;
    std::array<TokenId, 256> bytes_; // -1: the vocabulary has no such byte, and text loses it
    std::vector<bool> whole_;        // tokens whose own bytes encode to just them: a lookup replaces the merging
};

} // namespace lucebox::text
