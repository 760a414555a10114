#include "tiny_model.h"

#include "gguf/writer.h"

#include <algorithm>
#include <random>
#include <span>
#include <vector>

namespace lucebox::scripted {
namespace {

constexpr std::uint32_t width = 32, heads = 2, inner = 32;

struct Part {
    std::string name;
    std::uint64_t inputs, outputs; // outputs 0: a norm's scale
};

std::vector<Part> parts(std::uint64_t vocabulary) {
    std::vector<Part> list{{"token_embd.weight", width, vocabulary}, {"output_norm.weight", width, 0}};
    const std::string layer = "blk.0.";
    for (const char* norm : {"attn_norm.weight", "ffn_norm.weight"}) list.push_back({layer + norm, width, 0});
    for (const char* matrix : {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"}) list.push_back({layer + matrix, width, width});
    for (const char* matrix : {"ffn_gate.weight", "ffn_up.weight"}) list.push_back({layer + matrix, width, inner});
    list.push_back({layer + "ffn_down.weight", inner, width});
    return list;
}

// The tags of families whose vocabularies stand in here without them, as far as the template writes them.
struct Tag {
    std::string_view text;
    bool is_control, ends_turn;
};
constexpr Tag tags[] = {{"<|turn>", true, false},         {"<turn|>", true, false},       {"<|tool>", true, false},          {"<tool|>", true, false},
                        {"<|tool_call>", true, false},    {"<tool_call|>", true, false},  {"<|tool_response>", true, false}, {"<tool_response|>", true, false},
                        {"<|channel>", true, false},      {"<channel|>", true, false},    {"<|\"|>", true, false},          {"<|think|>", true, false},
                        {"<assistant>", false, false},    {"</assistant>", true, true}};

// The tokens that the model has; with the keys that tell of those that were added.
Result<std::vector<std::string>> add_tags(gguf::ModelWriter& writer, const gguf::ModelFile& source, std::string_view chat_template) {
    std::vector<std::string> tokens = *source.get_strings("tokenizer.ggml.tokens");
    LUCEBOX_TRY(const auto given, source.get_integers("tokenizer.ggml.token_type"));
    if (!given) return Error{ErrorKind::invalid_data, "the tokenizer has no token types"};
    std::vector<std::int32_t> kinds(given->begin(), given->end());
    for (const Tag& tag : tags) {
        if (chat_template.find(tag.text) == std::string_view::npos || std::ranges::find(tokens, tag.text) != tokens.end()) continue;
        if (tag.ends_turn) writer.set("tokenizer.ggml.eot_token_id", static_cast<std::uint32_t>(tokens.size()));
        tokens.emplace_back(tag.text);
        kinds.push_back(tag.is_control ? 3 : 4);
    }
    writer.set("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
    writer.set("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
    return tokens;
}

} // namespace

Status write_tiny_model(const TinyModel& model, const std::filesystem::path& target) {
    LUCEBOX_TRY(const auto source, gguf::ModelFile::open(model.tokenizer));
    if (source.get_strings("tokenizer.ggml.tokens") == nullptr) return Error{ErrorKind::invalid_data, model.tokenizer.string() + " has no tokenizer"};
    gguf::ModelWriter writer;
    writer.set("general.architecture", "llama");
    writer.set("general.name", "scripted");
    writer.set("llama.context_length", model.context);
    writer.set("llama.embedding_length", width);
    writer.set("llama.feed_forward_length", inner);
    writer.set("llama.block_count", std::uint32_t{1});
    writer.set("llama.attention.head_count", heads);
    writer.set("llama.attention.head_count_kv", heads);
    writer.set("llama.attention.layer_norm_rms_epsilon", 1e-5F);
    writer.set("llama.rope.dimension_count", width / heads);
    for (const std::string_view key : source.keys())
        if (key.starts_with("tokenizer.") && key != "tokenizer.ggml.tokens" && key != "tokenizer.ggml.token_type") writer.set_encoded(key, source.encoded_metadata(key));
    LUCEBOX_TRY(const auto tokens, add_tags(writer, source, model.chat_template));
    writer.set("tokenizer.chat_template", model.chat_template);
    const auto list = parts(tokens.size());
    for (const Part& part : list)
        LUCEBOX_CHECK(writer.add_tensor(part.name, gguf::TensorType::f32, {part.inputs, std::max<std::uint64_t>(part.outputs, 1), 1, 1}));
    LUCEBOX_CHECK(writer.begin(target));
    std::mt19937 random(1); // NOLINT: the same model every time
    std::normal_distribution<float> normal(0, 0.3F);
    for (const Part& part : list) {
        std::vector<float> values(part.inputs * std::max<std::uint64_t>(part.outputs, 1));
        for (float& value : values) value = part.outputs == 0 ? 1 : normal(random);
        LUCEBOX_CHECK(writer.write(std::as_bytes(std::span(values))));
    }
    return writer.finish();
}

} // namespace lucebox::scripted
