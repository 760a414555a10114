// Sentence-level tokenizers: no pre-tokenizer, spaces are characters like others, unknown characters become byte
// tokens.
//
// Two vocabularies work so: SentencePiece's (`tokenizer.ggml.model` "llama": of adjacent symbols those merge first
// whose join is the token with the highest score) and Gemma 4's ("gemma4": ranked merges, and runs of newlines stand
// alone). Immutable once built; any thread, each call with its own workspace. The vocabulary must outlive the encoder.
#pragma once

#include "text/bpe.h"

#include <bitset>
#include <memory>
#include <string_view>
#include <vector>

namespace lucebox::text {

class SpmEncoder final : public FragmentEncoder {
public:
    // By `tokenizer.ggml.scores`, which must have one finite number for each token.
    static Result<std::unique_ptr<SpmEncoder>> by_scores(const gguf::ModelFile& file, const Vocabulary& vocabulary);
    static Result<std::unique_ptr<SpmEncoder>> by_merges(const gguf::ModelFile& file, const Vocabulary& vocabulary);

    void encode(std::string_view fragment, MergeWorkspace& work, std::vector<TokenId>& out) const override;

private:
    explicit SpmEncoder(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

    void finish(); // once scores or merges are in place
    void encode_section(std::string_view section, MergeWorkspace& work, std::vector<TokenId>& out) const;
    void merge_characters(std::string_view segment, MergeWorkspace& work) const;
    std::size_t segment_end(std::string_view section, std::size_t begin) const;
    void append_bytes(std::string_view bytes, std::vector<TokenId>& out) const;

    const Vocabulary& vocabulary_;
    std::vector<std::uint32_t> ranks_; // of each token, lower is a higher score; empty with merges
    PairTable merges_;
    bool by_merges_ = false;
    std::size_t longest_ = 0;         // bytes of the longest normal token: no join is longer
    std::vector<bool> whole_;         // tokens whose own text encodes to just them
    std::bitset<256 * 256> adjacent_; // bytes that some token has side by side: elsewhere no merge can cross
};

} // namespace lucebox::text
