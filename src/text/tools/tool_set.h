// The tools a request declares, and what their parameters may hold.
//
// Built once for a request from tools in OpenAI's shape ({"type":"function","function":{"name","parameters"}}; the schema
// may be called input_schema); immutable afterwards. Schemas come from clients: whatever they hold, building ends.
#pragma once

#include "text/chat_template.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text {

// Bits of the JSON types that a schema allows. 0: nothing is known, so anything may come.
using JsonTypes = std::uint8_t;
constexpr JsonTypes json_string = 1, json_number = 2, json_integer = 4, json_boolean = 8, json_null = 16, json_object = 32,
                    json_array = 64;

// What `schema` allows, references into `root` ("#/$defs/name"), anyOf, oneOf, enum, const and nullable resolved.
JsonTypes json_types(const Json& schema, const Json& root);

class Tool {
public:
    Tool(std::string name, Json parameters) : name_(std::move(name)), parameters_(std::move(parameters)) {}

    const std::string& name() const { return name_; }
    const Json& parameters() const { return parameters_; } // a JSON Schema; null if none was given
    JsonTypes types(std::string_view parameter) const;
    bool declares(std::string_view parameter) const;
    // Whether an object with these arguments could be meant for this tool: only declared ones, all required ones.
    bool accepts(const Json& arguments) const;

private:
    std::string name_;
    Json parameters_;
};

class ToolSet {
public:
    ToolSet() = default;
    explicit ToolSet(const Json& tools); // entries that are not tools are passed over

    bool empty() const { return tools_.empty(); }
    const std::vector<Tool>& tools() const { return tools_; }
    const Tool* find(std::string_view name) const;

private:
    std::vector<Tool> tools_;
};

// The JSON text of an argument that came as plain text, read as its types allow: 5 for "5" where a number may stand, and
// "5" where only a string may.
std::string typed_argument(std::string_view text, JsonTypes types);

// `text` as the inside of a JSON string.
void append_escaped(std::string& out, std::string_view text);

} // namespace lucebox::text
