#include "server/api/json.h"

#include <fmt/format.h>

#include <cmath>

namespace lucebox::server {

namespace {

// What the limits bound, counted without building anything. Malformed text is left for the parser to explain.
std::optional<std::string> beyond_limits(std::string_view text, const JsonLimits& limits) {
    std::vector<std::size_t> keys_at_depth;
    std::size_t keys = 0, comparisons = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') ++i;
            if (c == '"') in_string = false;
            continue;
        }
        if (c == '"') in_string = true;
        if (c == '{' || c == '[') {
            keys_at_depth.push_back(0);
            if (keys_at_depth.size() > limits.depth) return fmt::format("is nested deeper than {}", limits.depth);
        }
        if ((c == '}' || c == ']') && !keys_at_depth.empty()) keys_at_depth.pop_back();
        if (c != ':' || keys_at_depth.empty()) continue;
        if (++keys_at_depth.back() > limits.keys_per_object)
            return fmt::format("has an object of more than {} keys", limits.keys_per_object);
        comparisons += keys_at_depth.back();
        if (comparisons > limits.comparisons) return "has too many keys in large objects";
        if (++keys > limits.keys) return fmt::format("has more than {} keys", limits.keys);
    }
    return std::nullopt;
}

} // namespace

Answer<Json> parse_json(std::string_view text, const JsonLimits& limits) {
    if (const auto beyond = beyond_limits(text, limits)) return bad_field("", "The body " + *beyond + ".");
    try {
        return Json::parse(text);
    } catch (const Json::parse_error& error) {
        return bad_field("", fmt::format("The body is not JSON: something is wrong at byte {}.", error.byte));
    } catch (const Json::exception&) { // a number too large for a double
        return bad_field("", "The body is not JSON that can be represented: a number is out of range.");
    }
}

std::string to_text(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Fields::Fields(const Json& object, std::string path) : object_(object), path_(std::move(path)) {
    if (!object.is_object())
        fail(bad_field(path_.empty() ? "" : path_.substr(0, path_.size() - 1),
                       path_.empty() ? "The body must be a JSON object."
                                     : fmt::format("{} must be an object.", path_.substr(0, path_.size() - 1))));
}

void Fields::fail(ApiError error) {
    if (!error_) error_ = std::move(error);
}

void Fields::refuse(std::string_view name, std::string message) {
    fail(bad_field(path(name), std::move(message)));
}

const Json* Fields::any(std::string_view name) const {
    if (!object_.is_object()) return nullptr;
    const auto at = object_.find(name);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
}

const Json* Fields::find(std::string_view name, bool (*is_right)(const Json&), const char* what) {
    if (error_) return nullptr;
    const Json* value = any(name);
    if (value == nullptr || is_right(*value)) return value;
    refuse(name, fmt::format("{} must be {}.", path(name), what));
    return nullptr;
}

std::optional<bool> Fields::boolean(std::string_view name) {
    const Json* value = find(
        name, [](const Json& json) { return json.is_boolean(); }, "true or false");
    return value ? std::optional(value->get<bool>()) : std::nullopt;
}

std::optional<std::string> Fields::string(std::string_view name) {
    const Json* value = find(
        name, [](const Json& json) { return json.is_string(); }, "a string");
    return value ? std::optional(value->get<std::string>()) : std::nullopt;
}

const Json* Fields::object(std::string_view name) {
    return find(
        name, [](const Json& json) { return json.is_object(); }, "an object");
}

const Json* Fields::array(std::string_view name, std::size_t most) {
    const Json* value = find(
        name, [](const Json& json) { return json.is_array(); }, "an array");
    if (value == nullptr || value->size() <= most) return value;
    refuse(name, fmt::format("{} has {} entries; at most {} are allowed.", path(name), value->size(), most));
    return nullptr;
}

std::optional<double> Fields::number(std::string_view name, double low, double high) {
    const Json* value = find(
        name, [](const Json& json) { return json.is_number(); }, "a number");
    if (value == nullptr) return std::nullopt;
    const double number = value->get<double>();
    if (number >= low && number <= high) return number;
    refuse(name, fmt::format("{} must be from {} to {}, not {}.", path(name), low, high, number));
    return std::nullopt;
}

std::optional<std::int64_t> Fields::integer(std::string_view name, std::int64_t low, std::int64_t high) {
    // 3.0 is an integer too: some languages write all their numbers so.
    const auto is_integer = [](const Json& json) {
        if (json.is_number_integer()) return true;
        return json.is_number_float() && std::abs(json.get<double>()) < 0x1p53 &&
               std::trunc(json.get<double>()) == json.get<double>();
    };
    const Json* value = find(name, is_integer, "an integer");
    if (value == nullptr) return std::nullopt;
    const bool huge = value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX;
    const std::int64_t integer =
        value->is_number_float() ? static_cast<std::int64_t>(value->get<double>()) : value->get<std::int64_t>();
    if (!huge && integer >= low && integer <= high) return integer;
    refuse(name, fmt::format("{} must be from {} to {}, not {}.", path(name), low, high, value->dump()));
    return std::nullopt;
}

std::vector<std::string> Fields::strings(std::string_view name, std::size_t most) {
    const auto is_right = [](const Json& json) {
        if (!json.is_array()) return json.is_string();
        for (const Json& entry : json)
            if (!entry.is_string()) return false;
        return true;
    };
    const Json* value = find(name, is_right, "a string or an array of strings");
    if (value == nullptr) return {};
    if (value->is_string()) return {value->get<std::string>()};
    if (value->size() <= most) return value->get<std::vector<std::string>>();
    refuse(name, fmt::format("{} has {} entries; at most {} are allowed.", path(name), value->size(), most));
    return {};
}

} // namespace lucebox::server
