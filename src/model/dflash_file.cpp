#include "model/dflash_file.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <numeric>

namespace lucebox::model {
namespace {

using Json = nlohmann::json;

constexpr std::array architectures{std::string_view{"dflash-draft"}, std::string_view{"qwen35-dflash-draft"},
                                   std::string_view{"gemma4-dflash-draft"}};
constexpr std::size_t largest_config_bytes = 1 << 20;

// Names in safetensors, and in GGUF with the other spelling that some converters use. {}: the layer.
struct Name {
    std::string_view gguf, other, safetensors;
};
constexpr std::array model_names{
    Name{"dflash.fc.weight", "dflash_fc.weight", "fc.weight"},
    Name{"dflash.hidden_norm.weight", "dflash_hidden_norm.weight", "hidden_norm.weight"},
    Name{"output_norm.weight", "", "norm.weight"},
};
constexpr std::array layer_names{
    Name{"blk.{}.attn_norm.weight", "", "layers.{}.input_layernorm.weight"},
    Name{"blk.{}.attn_q.weight", "", "layers.{}.self_attn.q_proj.weight"},
    Name{"blk.{}.attn_k.weight", "", "layers.{}.self_attn.k_proj.weight"},
    Name{"blk.{}.attn_v.weight", "", "layers.{}.self_attn.v_proj.weight"},
    Name{"blk.{}.attn_output.weight", "", "layers.{}.self_attn.o_proj.weight"},
    Name{"blk.{}.attn_q_norm.weight", "", "layers.{}.self_attn.q_norm.weight"},
    Name{"blk.{}.attn_k_norm.weight", "", "layers.{}.self_attn.k_norm.weight"},
    Name{"blk.{}.ffn_norm.weight", "blk.{}.post_attention_norm.weight", "layers.{}.post_attention_layernorm.weight"},
    Name{"blk.{}.ffn_gate.weight", "", "layers.{}.mlp.gate_proj.weight"},
    Name{"blk.{}.ffn_up.weight", "", "layers.{}.mlp.up_proj.weight"},
    Name{"blk.{}.ffn_down.weight", "", "layers.{}.mlp.down_proj.weight"},
};
// Variants of the idea that need arithmetic of their own.
constexpr std::array foreign_parts{std::string_view{"dflash.domino."}, std::string_view{"dflash.dspark."},
                                   std::string_view{"dflash.aux_hidden_norm."}, std::string_view{".attn_gate."}};

std::string at_layer(std::string_view pattern, std::size_t layer) { return fmt::format(fmt::runtime(pattern), layer); }

Error invalid(std::string message) { return {ErrorKind::invalid_data, std::move(message), {}}; }
Error unsupported(std::string message) { return {ErrorKind::unsupported, std::move(message), {}}; }

// Metadata of the GGUF under its architecture's prefix; remembers the first thing that is wrong.
class Keys {
public:
    Keys(const gguf::ModelFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

    Status status = Ok{};

    std::optional<std::uint64_t> integer(std::string_view key) { return take(file_.get_unsigned(name(key))); }
    std::optional<double> number(std::string_view key) { return take(file_.get_number(name(key))); }
    std::optional<bool> flag(std::string_view key) { return take(file_.get_bool(name(key))); }
    std::optional<std::vector<std::int64_t>> integers(std::string_view key) { return take(file_.get_integers(name(key))); }
    std::size_t required(std::string_view key) {
        const auto value = integer(key);
        if (!value && status) status = invalid(fmt::format("metadata {} is missing", name(key)));
        return static_cast<std::size_t>(value.value_or(0));
    }

private:
    std::string name(std::string_view key) const { return fmt::format("{}.{}", prefix_, key); }
    template <class T> std::optional<T> take(Result<std::optional<T>> value) {
        if (value) return std::move(*value);
        if (status) status = value.error();
        return std::nullopt;
    }

    const gguf::ModelFile& file_;
    std::string prefix_;
};

// Fields of config.json, with the same manners.
class Fields {
public:
    explicit Fields(const Json& json) : json_(json) {}

    Status status = Ok{};

    const Json* find(const char* key) const {
        const auto found = json_.find(key);
        return found == json_.end() || found->is_null() ? nullptr : &*found;
    }
    std::size_t integer(const char* key, std::optional<std::size_t> otherwise = {}) {
        const Json* value = find(key);
        if (!value && otherwise) return *otherwise;
        if (value && value->is_number_unsigned()) return value->get<std::size_t>();
        fail(fmt::format("config.json: {} is {}", key, value ? "no whole number" : "missing"));
        return 0;
    }
    double number(const char* key, double otherwise) {
        const Json* value = find(key);
        if (value && !value->is_number()) fail(fmt::format("config.json: {} is no number", key));
        return value && value->is_number() ? value->get<double>() : otherwise;
    }
    void fail(std::string message) {
        if (status) status = invalid(std::move(message));
    }

private:
    const Json& json_;
};

std::optional<gguf::TensorType> matching(gguf::StoredType type) {
    switch (type) {
    case gguf::StoredType::f32: return gguf::TensorType::f32;
    case gguf::StoredType::f16: return gguf::TensorType::f16;
    case gguf::StoredType::bf16: return gguf::TensorType::bf16;
    default: return std::nullopt;
    }
}

} // namespace

Result<DflashFile> DflashFile::open(const std::filesystem::path& path) {
    DflashFile file;
    file.path_ = path;
    if (path.extension() == ".gguf") {
        LUCEBOX_TRY(file.gguf_, gguf::ModelFile::open(path));
        LUCEBOX_CHECK(file.read_gguf_config());
        LUCEBOX_CHECK(file.take_gguf_tensors());
    } else {
        LUCEBOX_TRY(file.safetensors_, gguf::Safetensors::open(path));
        std::error_code error;
        const auto folder = std::filesystem::is_directory(path, error) ? path : path.parent_path();
        LUCEBOX_CHECK(file.read_json_config(folder / "config.json"));
        LUCEBOX_CHECK(file.take_safetensors());
    }
    LUCEBOX_CHECK(file.check());
    return file;
}

Status DflashFile::read_gguf_config() {
    LUCEBOX_TRY(const auto architecture, gguf_->get_string("general.architecture"));
    config_.architecture = architecture.value_or("");
    if (std::ranges::find(architectures, config_.architecture) == architectures.end()) {
        return unsupported(fmt::format("{} is no DFlash draft: its architecture is '{}'", path_.string(), config_.architecture));
    }
    LUCEBOX_TRY(const auto name, gguf_->get_string("general.name"));
    config_.name = name.value_or(path_.stem().string());
    Keys keys(*gguf_, config_.architecture);
    for (const char* variant : {"dflash.domino.enabled", "dflash.dspark.enabled"}) {
        if (keys.flag(variant).value_or(false)) return unsupported(fmt::format("drafts with {} are not supported", variant));
    }
    config_.width = keys.required("embedding_length");
    config_.layers = keys.required("block_count");
    config_.inner = keys.required("feed_forward_length");
    config_.heads = keys.required("attention.head_count");
    config_.kv_heads = keys.required("attention.head_count_kv");
    config_.head_dim = keys.required("attention.key_length");
    config_.vocabulary = keys.required("vocab_size");
    config_.block = keys.required("dflash.block_size");
    const std::size_t mask = keys.required("dflash.mask_token_id");
    config_.mask_token = static_cast<std::int32_t>(std::min<std::size_t>(mask, INT32_MAX));
    config_.context = static_cast<std::size_t>(keys.integer("context_length").value_or(0));
    config_.epsilon = keys.number("attention.layer_norm_rms_epsilon").value_or(1e-6);
    config_.rope_base = keys.number("rope.freq_base").value_or(1e4);
    config_.context_layer_norm = keys.flag("dflash.context_kv_layer_norm").value_or(false);
    config_.window = static_cast<std::size_t>(keys.integer("attention.sliding_window").value_or(0));
    if (const auto pattern = keys.integers("attention.sliding_window_pattern")) {
        for (const std::int64_t slides : *pattern) config_.sliding.push_back(slides != 0);
    }
    const auto ids = keys.integers("dflash.target_layer_ids");
    if (keys.status && !ids) {
        return invalid(fmt::format("metadata {}.dflash.target_layer_ids is missing: which layers of the target this draft "
                                   "reads cannot be guessed", config_.architecture));
    }
    if (ids) {
        for (const std::int64_t id : *ids) config_.target_layers.push_back(static_cast<std::size_t>(id)); // check() bounds it
    }
    return keys.status;
}

Status DflashFile::read_json_config(const std::filesystem::path& path) {
    LUCEBOX_TRY(const std::string text, read_text_file(path, largest_config_bytes));
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return invalid(fmt::format("{} is no JSON object", path.string()));
    const Json empty = Json::object();
    const auto dflash = json.find("dflash_config");
    const Json& inner = dflash != json.end() && dflash->is_object() ? *dflash : empty;
    Fields fields(json), own(inner);
    config_.architecture = architectures.front();
    const Json* name = fields.find("_name_or_path");
    config_.name = name && name->is_string() ? name->get<std::string>() : path.parent_path().filename().string();
    config_.width = fields.integer("hidden_size");
    config_.layers = fields.integer("num_hidden_layers");
    config_.inner = fields.integer("intermediate_size");
    config_.heads = fields.integer("num_attention_heads");
    config_.kv_heads = fields.integer("num_key_value_heads", config_.heads);
    config_.head_dim = fields.integer("head_dim", config_.width / std::max<std::size_t>(config_.heads, 1));
    config_.vocabulary = fields.integer("vocab_size");
    config_.context = fields.integer("max_position_embeddings", 0);
    config_.epsilon = fields.number("rms_norm_eps", 1e-6);
    const Json* rope = fields.find("rope_parameters");
    Fields rope_fields(rope && rope->is_object() ? *rope : empty);
    config_.rope_base = fields.number("rope_theta", rope_fields.number("rope_theta", 1e4));
    for (const Json* scaling : {fields.find("rope_scaling"), rope}) {
        for (const char* key : {"rope_type", "type"}) {
            const Json* type = scaling && scaling->is_object() ? Fields(*scaling).find(key) : nullptr;
            if (type && *type != "default") return unsupported("config.json: rope_scaling is not supported in a draft");
        }
    }
    config_.block = own.find("block_size") ? own.integer("block_size") : fields.integer("block_size");
    const std::size_t mask = own.find("mask_token_id") ? own.integer("mask_token_id") : fields.integer("mask_token_id");
    config_.mask_token = static_cast<std::int32_t>(std::min<std::size_t>(mask, INT32_MAX));
    const Json* ids = own.find("target_layer_ids") ? own.find("target_layer_ids") : fields.find("target_layer_ids");
    if (!ids || !ids->is_array()) {
        return invalid("config.json: dflash_config.target_layer_ids is missing: which layers of the target this draft reads "
                       "cannot be guessed");
    }
    for (const Json& id : *ids) {
        if (!id.is_number_unsigned()) return invalid("config.json: target_layer_ids holds something else than layers");
        config_.target_layers.push_back(id.get<std::size_t>());
    }
    if (const Json* types = fields.find("layer_types"); types && types->is_array()) {
        for (const Json& type : *types) config_.sliding.push_back(type == "sliding_attention");
    }
    if (std::ranges::find(config_.sliding, true) != config_.sliding.end()) config_.window = fields.integer("sliding_window");
    if (!own.status) return own.status;
    if (!rope_fields.status) return rope_fields.status;
    return fields.status;
}

Status DflashFile::take_gguf_tensors() {
    for (const gguf::Tensor& tensor : gguf_->tensors()) {
        for (const std::string_view part : foreign_parts) {
            if (tensor.name.find(part) != std::string::npos) {
                return unsupported(fmt::format("tensor {} belongs to a kind of draft that is not supported", tensor.name));
            }
        }
    }
    const auto take = [&](const std::string& name, const std::string& other) -> Status {
        const gguf::Tensor* tensor = gguf_->find(name);
        if (!tensor && !other.empty()) tensor = gguf_->find(other);
        if (!tensor) return invalid(fmt::format("tensor {} is missing", name));
        tensors_.push_back(*tensor);
        tensors_.back().name = name;
        return Ok{};
    };
    for (const Name& name : model_names) LUCEBOX_CHECK(take(std::string(name.gguf), std::string(name.other)));
    for (std::size_t layer = 0; layer < std::min<std::size_t>(config_.layers, gguf_->tensors().size()); ++layer) {
        for (const Name& name : layer_names) LUCEBOX_CHECK(take(at_layer(name.gguf, layer), at_layer(name.other, layer)));
    }
    return Ok{};
}

Status DflashFile::take_safetensors() {
    const auto take = [&](const std::string& name, const std::string& stored_name) -> Status {
        const gguf::StoredTensor* stored = safetensors_->find(stored_name);
        if (!stored) return invalid(fmt::format("tensor {} is missing", stored_name));
        const auto type = matching(stored->type);
        if (!type) {
            return unsupported(fmt::format("tensor {} is {}; F32, F16 and BF16 can be read", stored_name,
                                           gguf::stored_format(stored->type).name));
        }
        if (stored->shape.empty() || stored->shape.size() > 2) {
            return invalid(fmt::format("tensor {} has {} dimensions", stored_name, stored->shape.size()));
        }
        gguf::Tensor tensor{name, *type, {stored->shape.back(), stored->shape.size() == 2 ? stored->shape.front() : 1, 1, 1}, stored->data};
        tensors_.push_back(std::move(tensor));
        return Ok{};
    };
    for (const Name& name : model_names) LUCEBOX_CHECK(take(std::string(name.gguf), std::string(name.safetensors)));
    for (std::size_t layer = 0; layer < std::min<std::size_t>(config_.layers, safetensors_->tensors().size()); ++layer) {
        for (const Name& name : layer_names) LUCEBOX_CHECK(take(at_layer(name.gguf, layer), at_layer(name.safetensors, layer)));
    }
    return Ok{};
}

// Bounds that no draft comes near, and what the parts must agree on.
Status DflashFile::check() {
    DflashConfig& c = config_;
    const auto within = [](std::size_t value, std::size_t most) { return value >= 1 && value <= most; };
    if (!within(c.layers, 1024) || !within(c.width, 131072) || !within(c.inner, 524288) || !within(c.heads, 1024) ||
        !within(c.kv_heads, 1024) || !within(c.head_dim, 1024) || !within(c.vocabulary, 1u << 24)) {
        return invalid(fmt::format("{}: a draft of {} layers, width {}, {} and {} heads of {}, inner width {}, vocabulary {} "
                                   "makes no sense", path_.string(), c.layers, c.width, c.heads, c.kv_heads, c.head_dim, c.inner, c.vocabulary));
    }
    if (c.heads % c.kv_heads != 0) return invalid(fmt::format("{} query heads are no multiple of {} key heads", c.heads, c.kv_heads));
    if (c.head_dim % 2 != 0) return invalid(fmt::format("the head size {} is odd", c.head_dim));
    if (!(c.rope_base > 0) || !(c.epsilon >= 0)) return invalid("rope.freq_base or the norm's epsilon is negative");
    if (c.block < 2 || c.block > 64) return invalid(fmt::format("a block of {} tokens; 2 to 64 are possible", c.block));
    if (c.mask_token < 0 || static_cast<std::size_t>(c.mask_token) >= c.vocabulary) {
        return invalid(fmt::format("the mask token {} is outside the vocabulary of {}", c.mask_token, c.vocabulary));
    }
    const gguf::Tensor& fuse = *find("dflash.fc.weight");
    if (fuse.shape[0] % c.width != 0 || fuse.shape[0] / c.width != c.target_layers.size()) {
        return invalid(fmt::format("dflash.fc.weight takes {} inputs, but {} target layers of width {} are named", fuse.shape[0],
                                   c.target_layers.size(), c.width));
    }
    if (c.sliding.empty()) c.sliding.assign(c.layers, c.window > 0);
    if (c.sliding.size() != c.layers) {
        return invalid(fmt::format("the sliding pattern has {} entries for {} layers", c.sliding.size(), c.layers));
    }
    if (std::ranges::find(c.sliding, true) != c.sliding.end() && c.window == 0) return invalid("layers slide, but over no window");
    return Ok{};
}

const gguf::Tensor* DflashFile::find(std::string_view name) const {
    const auto found = std::ranges::find(tensors_, name, &gguf::Tensor::name);
    return found == tensors_.end() ? nullptr : &*found;
}

std::uint64_t DflashFile::bytes() const {
    return std::accumulate(tensors_.begin(), tensors_.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const gguf::Tensor& tensor) { return sum + tensor.data.size(); });
}

} // namespace lucebox::model
