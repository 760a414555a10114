#include "gguf/safetensors_header.h"

#include "gguf/byte_reader.h"

#include <algorithm>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

namespace lucebox::gguf {
namespace {

constexpr std::size_t most_tensors = 262'144;
constexpr std::size_t most_metadata = 65'536;
constexpr std::size_t most_dimensions = 16;
constexpr std::size_t longest_name = 1024;

Error invalid(std::string message) {
    return {ErrorKind::invalid_data, std::move(message)};
}

// Refuses every event; a form overrides those it expects. Returning false ends the parse, with `error` set.
class JsonForm : public nlohmann::json_sax<nlohmann::json> {
public:
    Error error{ErrorKind::invalid_data, {}};

    bool null() override { return unexpected("null"); }
    bool boolean(bool) override { return unexpected("a bool"); }
    bool number_integer(std::int64_t) override { return unexpected("a negative number"); }
    bool number_unsigned(std::uint64_t) override { return unexpected("a number"); }
    bool number_float(double, const std::string&) override { return unexpected("a fraction"); }
    bool string(std::string&) override { return unexpected("a string"); }
    bool binary(nlohmann::json::binary_t&) override { return unexpected("bytes"); }
    bool start_object(std::size_t) override { return unexpected("an object"); }
    bool end_object() override { return unexpected("the end of an object"); }
    bool start_array(std::size_t) override { return unexpected("an array"); }
    bool end_array() override { return unexpected("the end of an array"); }
    bool key(std::string&) override { return unexpected("a key"); }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
        return fail(fmt::format("the header is not valid JSON at byte {}", position));
    }

protected:
    virtual std::string place() const = 0;

    bool fail(std::string message) {
        error.message = std::move(message);
        return false;
    }
    bool unexpected(std::string_view what) { return fail(fmt::format("{} where none belongs, {}", what, place())); }
};

std::optional<StoredType> stored_type_from_name(std::string_view name) {
    for (int i = 0; i <= static_cast<int>(StoredType::boolean); ++i) {
        const auto type = static_cast<StoredType>(i);
        if (stored_format(type).name == name) return type;
    }
    return std::nullopt;
}

// {"__metadata__": {text: text}, name: {"dtype": text, "shape": [n, ...], "data_offsets": [n, n]}, ...}
class HeaderForm final : public JsonForm {
public:
    StoredHeader header;

    bool start_object(std::size_t) override {
        switch (state_) {
        case State::start: state_ = State::top; return true;
        case State::metadata_start: state_ = State::metadata; return true;
        case State::tensor_start: state_ = State::tensor; return true;
        default: return unexpected("an object");
        }
    }

    bool end_object() override {
        switch (state_) {
        case State::top: state_ = State::finished; return true;
        case State::metadata: state_ = State::top; return true;
        case State::tensor: state_ = State::top; return end_tensor();
        default: return unexpected("the end of an object");
        }
    }

    bool key(std::string& name) override {
        if (name.size() > longest_name) return fail(fmt::format("a name has {} bytes", name.size()));
        if (state_ == State::top) return top_key(name);
        if (state_ == State::metadata) {
            if (header.metadata.size() == most_metadata) return fail("__metadata__ has too many keys");
            header.metadata.emplace_back(name, "");
            return true;
        }
        return tensor_key(name);
    }

    bool string(std::string& text) override {
        if (state_ == State::metadata) {
            header.metadata.back().second = text;
            return true;
        }
        if (state_ != State::type) return unexpected("a string");
        const auto type = stored_type_from_name(text);
        if (!type)
            return fail(fmt::format("tensor {} has the unknown dtype {}", printable(current().name), printable(text)));
        current().type = *type;
        state_ = State::tensor;
        return true;
    }

    bool start_array(std::size_t) override {
        if (state_ == State::shape_start) {
            state_ = State::shape;
            return true;
        }
        if (state_ != State::offsets_start) return unexpected("an array");
        state_ = State::offsets;
        return true;
    }

    bool number_unsigned(std::uint64_t value) override {
        if (state_ == State::shape && current().shape.size() < most_dimensions) {
            current().shape.push_back(value);
            return true;
        }
        if (state_ != State::offsets || offsets_ == 2) return unexpected("a number");
        (offsets_++ == 0 ? current().begin : current().end) = value;
        return true;
    }

    bool end_array() override {
        if (state_ == State::offsets && offsets_ != 2) return unexpected("the end of an array");
        if (state_ != State::shape && state_ != State::offsets) return unexpected("the end of an array");
        state_ = State::tensor;
        return true;
    }

private:
    enum class State {
        start,
        top,
        metadata_start,
        metadata,
        tensor_start,
        tensor,
        type,
        shape_start,
        shape,
        offsets_start,
        offsets,
        finished
    };

    StoredInfo& current() { return header.tensors.back(); }

    std::string place() const override {
        if (state_ == State::metadata || state_ == State::metadata_start) return "in __metadata__";
        if (state_ == State::start || state_ == State::top || header.tensors.empty()) return "at the top of the header";
        return fmt::format("in the description of tensor {}", printable(header.tensors.back().name));
    }

    bool top_key(const std::string& name) {
        if (name == "__metadata__") {
            if (has_metadata_) return fail("__metadata__ occurs twice");
            has_metadata_ = true;
            state_ = State::metadata_start;
            return true;
        }
        if (name.empty()) return fail("a tensor has no name");
        if (header.tensors.size() == most_tensors) return fail(fmt::format("more than {} tensors", most_tensors));
        header.tensors.push_back({name, {}, {}, 0, 0});
        has_type_ = has_shape_ = has_offsets_ = false;
        offsets_ = 0;
        state_ = State::tensor_start;
        return true;
    }

    bool tensor_key(const std::string& name) {
        const auto enter = [&](bool& seen, State next) {
            if (seen) return fail(fmt::format("{} of tensor {} occurs twice", name, printable(current().name)));
            seen = true;
            state_ = next;
            return true;
        };
        if (name == "dtype") return enter(has_type_, State::type);
        if (name == "shape") return enter(has_shape_, State::shape_start);
        if (name == "data_offsets") return enter(has_offsets_, State::offsets_start);
        return fail(fmt::format("tensor {} has the unknown field {}", printable(current().name), printable(name)));
    }

    bool end_tensor() {
        const StoredInfo& tensor = current();
        if (!has_type_ || !has_shape_ || !has_offsets_) {
            return fail(fmt::format("tensor {} lacks its {}", printable(tensor.name),
                                    !has_type_    ? "dtype"
                                    : !has_shape_ ? "shape"
                                                  : "data_offsets"));
        }
        std::uint64_t bytes = stored_format(tensor.type).bytes;
        for (const std::uint64_t dimension : tensor.shape) {
            if (__builtin_mul_overflow(bytes, dimension, &bytes)) {
                return fail(fmt::format("the shape of tensor {} is too large", printable(tensor.name)));
            }
        }
        if (tensor.end < tensor.begin || tensor.end - tensor.begin != bytes) {
            return fail(fmt::format("data_offsets of tensor {} do not span the {} bytes of its shape",
                                    printable(tensor.name), bytes));
        }
        return true;
    }

    State state_ = State::start;
    bool has_metadata_ = false;
    bool has_type_ = false;
    bool has_shape_ = false;
    bool has_offsets_ = false;
    int offsets_ = 0;
};

// {"metadata": anything, "weight_map": {text: text}}
class IndexForm final : public JsonForm {
public:
    StringPairs map;
    bool has_map = false;

    bool start_object(std::size_t) override { return enter(); }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t) override { return ignoring() ? enter() : unexpected("an array"); }
    bool end_array() override { return leave(); }
    bool null() override { return ignoring() || unexpected("null"); }
    bool boolean(bool) override { return ignoring() || unexpected("a bool"); }
    bool number_integer(std::int64_t) override { return ignoring() || unexpected("a number"); }
    bool number_unsigned(std::uint64_t) override { return ignoring() || unexpected("a number"); }
    bool number_float(double, const std::string&) override { return ignoring() || unexpected("a number"); }

    bool string(std::string& text) override {
        if (ignoring()) return true;
        if (depth_ != 2) return unexpected("a string");
        // No folders, and no control bytes, which would reach error messages with the path.
        const bool plain = std::ranges::none_of(text, [](unsigned char c) { return c == '/' || c < ' ' || c == 0x7F; });
        if (!plain || text.size() > 255 || !text.ends_with(".safetensors")) {
            return fail(fmt::format("weight_map names the file {}", printable(text)));
        }
        map.back().second = text;
        return true;
    }

    bool key(std::string& name) override {
        if (depth_ == 1) {
            in_map_ = name == "weight_map";
            if (in_map_ && has_map) return fail("weight_map occurs twice");
            has_map = has_map || in_map_;
            return true;
        }
        if (!in_map_) return true;
        if (name.empty() || name.size() > longest_name) return fail(fmt::format("a name has {} bytes", name.size()));
        if (map.size() == most_tensors) return fail(fmt::format("more than {} tensors", most_tensors));
        map.emplace_back(name, "");
        return true;
    }

private:
    bool ignoring() const { return depth_ >= 1 && !in_map_; }
    bool enter() {
        if (in_map_ && depth_ == 2) return unexpected("an object");
        ++depth_;
        return true;
    }
    bool leave() {
        --depth_;
        return true;
    }
    std::string place() const override { return in_map_ ? "in weight_map" : "at the top of the index"; }

    std::size_t depth_ = 0;
    bool in_map_ = false;
};

Status sort_pairs(StringPairs& pairs) {
    std::sort(pairs.begin(), pairs.end());
    const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
    const auto twice = std::adjacent_find(pairs.begin(), pairs.end(), same);
    if (twice != pairs.end()) return invalid(fmt::format("{} occurs twice", printable(twice->first)));
    return Ok{};
}

} // namespace

Result<StoredHeader> parse_stored_header(std::string_view json) {
    HeaderForm form;
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &form)) return form.error;
    auto& tensors = form.header.tensors;
    std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    const auto same = [](const auto& a, const auto& b) { return a.name == b.name; };
    const auto twice = std::adjacent_find(tensors.begin(), tensors.end(), same);
    if (twice != tensors.end()) return invalid(fmt::format("tensor {} occurs twice", printable(twice->name)));
    LUCEBOX_CHECK(sort_pairs(form.header.metadata));
    return std::move(form.header);
}

Result<StringPairs> parse_shard_index(std::string_view json) {
    IndexForm form;
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &form)) return form.error;
    if (!form.has_map) return invalid("the index has no weight_map");
    LUCEBOX_CHECK(sort_pairs(form.map));
    return std::move(form.map);
}

} // namespace lucebox::gguf
