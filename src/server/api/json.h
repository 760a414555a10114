// JSON as requests bring it: parsed under limits, then read field by field.
//
// Reading follows one rule everywhere: null means absent, a wrong type or range is an error that names the field, and
// fields that nobody asks for are ignored.
#pragma once

#include "server/api/error.h"
#include "text/chat_template.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::server {

using text::Json;

// Limits that keep hostile bodies cheap: objects remember the order of their keys, so each new key is compared with all
// before it, and nested values are visited by recursion.
struct JsonLimits {
    std::size_t depth = 96;
    std::size_t keys_per_object = 4096;
    std::size_t keys = 262'144;
    std::size_t comparisons = 10'000'000; // of keys, over all objects: 35 ms
};
Answer<Json> parse_json(std::string_view text, const JsonLimits& limits = {});

// One line; never throws: bytes that are not UTF-8 become U+FFFD.
std::string to_text(const Json& json);

// Reads one object. The first error sticks, and everything after it reads as absent: check once, at the end.
class Fields {
public:
    // `path`: what stands before a field's name in errors, "messages[2]." or "".
    explicit Fields(const Json& object, std::string path = {});

    std::optional<bool> boolean(std::string_view name);
    std::optional<std::int64_t> integer(std::string_view name, std::int64_t low, std::int64_t high);
    std::optional<double> number(std::string_view name, double low, double high);
    std::optional<std::string> string(std::string_view name);
    const Json* array(std::string_view name, std::size_t most);
    const Json* object(std::string_view name);
    const Json* any(std::string_view name) const; // null: absent

    // A string, or a list of at most `most` strings.
    std::vector<std::string> strings(std::string_view name, std::size_t most);

    void fail(ApiError error);
    void refuse(std::string_view name, std::string message); // 400 naming the field
    std::string path(std::string_view name) const { return path_ + std::string(name); }
    const std::optional<ApiError>& error() const { return error_; }

private:
    const Json* find(std::string_view name, bool (*is_right)(const Json&), const char* what);

    const Json& object_;
    std::string path_;
    std::optional<ApiError> error_;
};

} // namespace lucebox::server
