#include "text/tokenizer.h"

#include "base/log.h"
#include "gguf/byte_reader.h"
#include "text/bpe.h"
#include "text/spm.h"
#include "text/tokenizer_specials.h"
#include "text/tokenizer_vocabulary.h"

#include <algorithm>
#include <fmt/format.h>
#include <optional>

namespace lucebox::text {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kPre = "tokenizer.ggml.pre";

struct Parts {
    std::unique_ptr<Vocabulary> vocabulary; // the encoder refers to it
    std::unique_ptr<FragmentEncoder> encoder;
    SpecialMatcher user_defined; // cut out of any text
    SpecialMatcher all;          // and of trusted text
    bool adds_bos = false;
    bool adds_eos = false;
    bool sentence = false;    // the vocabulary spells the space as a mark, so that the two are one
    bool space_first = false; // text gets a space in front
};

class ModelTokenizer final : public Tokenizer {
public:
    explicit ModelTokenizer(Parts parts) : parts_(std::move(parts)), vocabulary_(*parts_.vocabulary) {}

    std::vector<TokenId> encode(std::string_view text, EncodeOptions options) const override;
    std::string token_bytes(TokenId id, bool render_special) const override {
        return std::string(rendered(id, render_special));
    }
    std::string decode(std::span<const TokenId> ids, bool render_special) const override;

    TokenKind kind(TokenId id) const override { return known(id) ? vocabulary_.kind(id) : TokenKind::unused; }
    std::int32_t vocabulary_size() const override { return vocabulary_.size(); }
    // Special tokens go before ordinary ones that stand for the same bytes.
    TokenId find(std::string_view token_text) const override {
        const TokenId special = vocabulary_.find_special(token_text);
        return special >= 0 ? special : vocabulary_.find_normal(token_text);
    }

    TokenId bos() const override { return vocabulary_.bos(); }
    TokenId eos() const override { return vocabulary_.eos(); }
    bool adds_bos() const override { return parts_.adds_bos; }
    std::span<const TokenId> end_of_generation() const override { return vocabulary_.end_of_generation(); }

private:
    // A model may have more rows than its file has tokens; such an id is like an unused token.
    bool known(TokenId id) const { return id >= 0 && id < vocabulary_.size(); }
    std::string_view rendered(TokenId id, bool render_special) const;
    void encode_stretch(std::string_view text, MergeWorkspace& work, std::vector<TokenId>& out) const;

    Parts parts_;
    const Vocabulary& vocabulary_;
};

std::vector<TokenId> ModelTokenizer::encode(std::string_view text, EncodeOptions options) const {
    std::vector<TokenId> out;
    out.reserve(text.size() / 3 + 8);
    if (options.add_special && parts_.adds_bos) out.push_back(vocabulary_.bos());

    MergeWorkspace work;
    for (std::size_t begin = 0; begin < text.size();) {
        SpecialMatcher::Match control{text.size(), 0, -1};
        if (options.parse_special) {
            control = parts_.all.find(text, begin);
            while (control.bytes > 0 && kind(control.id) == TokenKind::user_defined)
                control = parts_.all.find(text, control.begin + control.bytes);
        }
        if (control.begin > begin) encode_stretch(text.substr(begin, control.begin - begin), work, out);
        if (control.bytes > 0) out.push_back(control.id);
        begin = control.begin + control.bytes;
    }

    if (options.add_special && parts_.adds_eos) out.push_back(vocabulary_.eos());
    return out;
}

// Text between control tokens; SentencePiece normalises it before it looks for user-defined tokens.
void ModelTokenizer::encode_stretch(std::string_view text, MergeWorkspace& work, std::vector<TokenId>& out) const {
    std::string normalised;
    if (parts_.space_first || (parts_.sentence && text.find(kSpaceMark) != std::string_view::npos)) {
        if (parts_.space_first) normalised.push_back(' ');
        append_with_spaces(normalised, text);
        text = normalised;
    }
    for (std::size_t begin = 0; begin < text.size();) {
        const SpecialMatcher::Match match = parts_.user_defined.find(text, begin);
        if (match.begin > begin) parts_.encoder->encode(text.substr(begin, match.begin - begin), work, out);
        if (match.bytes > 0) out.push_back(match.id);
        begin = match.begin + match.bytes;
    }
}

std::string_view ModelTokenizer::rendered(TokenId id, bool render_special) const {
    switch (kind(id)) {
    case TokenKind::normal:
    case TokenKind::user_defined:
    case TokenKind::byte: return vocabulary_.bytes(id);
    case TokenKind::control:
    case TokenKind::unknown: return render_special ? vocabulary_.bytes(id) : std::string_view();
    case TokenKind::unused: break;
    }
    return {};
}

std::string ModelTokenizer::decode(std::span<const TokenId> ids, bool render_special) const {
    std::string out;
    bool drop_space = parts_.space_first;
    for (const TokenId id : ids) {
        std::string_view bytes = rendered(id, render_special);
        if (drop_space && !bytes.empty() && kind(id) != TokenKind::control) {
            if (bytes[0] == ' ') bytes.remove_prefix(1);
            drop_space = false;
        }
        out.append(bytes);
    }
    return out;
}

Error unsupported(std::string_view key, std::string_view value, std::string hint) {
    return {ErrorKind::unsupported, fmt::format("{} is {}, which is not known here", key, gguf::printable(value)),
            std::move(hint)};
}

// Old conversions have no name, or `default`; for some architectures there is no doubt.
Result<PretokenizerRules> choose_rules(const gguf::ModelFile& file, std::string& name) {
    LUCEBOX_TRY(const auto stated, file.get_string(kPre));
    LUCEBOX_TRY(const auto architecture, file.get_string("general.architecture"));
    name = stated.value_or("default");
    if (name == "default") {
        const std::string_view arch = architecture ? std::string_view(*architecture) : "";
        if (arch.starts_with("qwen35"))
            name = "qwen35";
        else if (arch.starts_with("qwen2") || arch.starts_with("qwen3"))
            name = "qwen2";
        else if (arch == "laguna")
            name = "laguna";
        else if (arch == "gpt2")
            name = "gpt-2";
    }
    const auto rules = pretokenizer_rules(name);
    if (rules && stated.value_or("default") == "default")
        log_formatted(LogLevel::warning, "{} is missing; '{}' fits the model's architecture", kPre, name);
    if (rules) return *rules;
    return unsupported(kPre, name, "Convert the model with a current converter, or choose a supported model.");
}

Status build_encoder(const gguf::ModelFile& file, std::string_view model, Parts& parts, bool& bos_by_default) {
    const Vocabulary& vocabulary = *parts.vocabulary;
    if (model == "llama") {
        LUCEBOX_TRY(parts.encoder, SpmEncoder::by_scores(file, vocabulary));
        bos_by_default = true;
        return Ok{};
    }
    if (model == "gemma4") {
        LUCEBOX_TRY(parts.encoder, SpmEncoder::by_merges(file, vocabulary));
        bos_by_default = true;
        return Ok{};
    }
    std::string name;
    LUCEBOX_TRY(const PretokenizerRules rules, choose_rules(file, name));
    LUCEBOX_TRY(PairTable merges, load_merges(file, vocabulary));
    // Llama 3's tokenizer.json says ignore_merges; the others of this family do not.
    const bool llama3 = name == "llama-bpe" || name == "llama3" || name == "llama-v3";
    parts.encoder = std::make_unique<BpeEncoder>(vocabulary, std::move(merges), rules, llama3);
    bos_by_default = llama3;
    return Ok{};
}

// add_bos_token and its like: the file's word if it gives one. A file that wants a token it doesn't name is wrong.
Result<bool> adds(const gguf::ModelFile& file, std::string_view which, TokenId id, bool by_default) {
    const std::string key = fmt::format("tokenizer.ggml.add_{}_token", which);
    LUCEBOX_TRY(const auto stated, file.get_bool(key));
    if (stated.value_or(false) && id < 0)
        return Error{ErrorKind::invalid_data,
                     fmt::format("{} is true, but there is no tokenizer.ggml.{}_token_id", key, which)};
    return stated.value_or(by_default) && id >= 0;
}

} // namespace

bool Tokenizer::is_end_of_generation(TokenId id) const {
    const std::span<const TokenId> ids = end_of_generation();
    return std::binary_search(ids.begin(), ids.end(), id);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_metadata(const gguf::ModelFile& file) {
    LUCEBOX_TRY(const auto stated_model, file.get_string(kModel));
    if (!stated_model) return Error{ErrorKind::invalid_data, fmt::format("{} is missing", kModel)};
    const std::string& model = *stated_model;
    if (model != "gpt2" && model != "llama" && model != "gemma4")
        return unsupported(kModel, model, "Supported are gpt2 (byte-level BPE), llama (SentencePiece) and gemma4.");

    Parts parts;
    parts.sentence = model != "gpt2";
    LUCEBOX_TRY(Vocabulary vocabulary,
                Vocabulary::load(file, parts.sentence ? Spelling::sentence : Spelling::byte_alphabet));
    parts.vocabulary = std::make_unique<Vocabulary>(std::move(vocabulary));
    bool bos_by_default = false;
    LUCEBOX_CHECK(build_encoder(file, model, parts, bos_by_default));
    LUCEBOX_TRY(parts.user_defined, SpecialMatcher::build(*parts.vocabulary, false));
    LUCEBOX_TRY(parts.all, SpecialMatcher::build(*parts.vocabulary, true));

    LUCEBOX_TRY(parts.adds_bos, adds(file, "bos", parts.vocabulary->bos(), bos_by_default));
    if (model == "gemma4") parts.adds_bos = parts.vocabulary->bos() >= 0; // some of its files say no, wrongly
    LUCEBOX_TRY(parts.adds_eos, adds(file, "eos", parts.vocabulary->eos(), false));
    LUCEBOX_TRY(const auto space_first, file.get_bool("tokenizer.ggml.add_space_prefix"));
    parts.space_first = model == "llama" && space_first.value_or(true);

    parts.vocabulary->forget_spellings();
    return std::unique_ptr<Tokenizer>(std::make_unique<ModelTokenizer>(std::move(parts)));
}

} // namespace lucebox::text
