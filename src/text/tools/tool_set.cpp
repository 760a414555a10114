#include "text/tools/tool_set.h"

#include "base/ascii.h"

#include <algorithm>
#include <cctype>

namespace lucebox::text {
namespace {

constexpr int most_schema_steps = 256; // followed references and branches: a schema that needs more is treated as unknown
constexpr std::size_t most_nesting = 96;

JsonTypes type_named(std::string name) {
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (name == "string") return json_string;
    if (name == "number") return json_number;
    if (name == "integer") return json_integer;
    if (name == "boolean") return json_boolean;
    if (name == "null") return json_null;
    if (name == "object") return json_object;
    if (name == "array") return json_array;
    return 0;
}

JsonTypes type_of(const Json& value) {
    switch (value.type()) {
    case Json::value_t::string: return json_string;
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned: return json_integer;
    case Json::value_t::number_float: return json_number;
    case Json::value_t::boolean: return json_boolean;
    case Json::value_t::null: return json_null;
    case Json::value_t::object: return json_object;
    case Json::value_t::array: return json_array;
    default: return 0;
    }
}

const Json* member(const Json& object, const char* name) {
    if (!object.is_object()) return nullptr;
    const auto at = object.find(name);
    return at == object.end() ? nullptr : &*at;
}

const Json* referenced(const Json& root, const std::string& reference) {
    if (!reference.starts_with("#")) return nullptr;
    try {
        const Json::json_pointer pointer(reference.substr(1));
        return root.contains(pointer) ? &root.at(pointer) : nullptr;
    } catch (const Json::exception&) { // not a pointer
        return nullptr;
    }
}

// 0: unknown. `steps` bounds the work over all branches, so that schemas which refer to themselves end.
JsonTypes resolve(const Json& schema, const Json& root, int& steps) {
    if (--steps < 0) return 0;
    JsonTypes types = 0;
    if (const Json* type = member(schema, "type")) {
        if (type->is_string()) types |= type_named(*type);
        if (type->is_array()) {
            for (const Json& entry : *type)
                if (entry.is_string()) types |= type_named(entry);
        }
    }
    if (const Json* reference = member(schema, "$ref"); types == 0 && reference && reference->is_string()) {
        if (const Json* target = referenced(root, *reference)) types |= resolve(*target, root, steps);
    }
    for (const char* word : {"anyOf", "oneOf", "allOf"}) {
        const Json* branches = member(schema, word);
        if (types != 0 || branches == nullptr || !branches->is_array()) continue;
        for (const Json& branch : *branches) {
            const JsonTypes more = resolve(branch, root, steps);
            if (more == 0 && word[1] != 'l') return 0; // one branch allows anything
            types |= more;
        }
    }
    if (const Json* values = member(schema, "enum"); types == 0 && values && values->is_array()) {
        for (const Json& value : *values) types |= type_of(value);
    }
    if (const Json* value = member(schema, "const"); types == 0 && value) types |= type_of(*value);
    if (types == 0 && member(schema, "properties")) types = json_object;
    if (types == 0 && member(schema, "items")) types = json_array;
    if (const Json* nullable = member(schema, "nullable"); types != 0 && nullable && *nullable == true) types |= json_null;
    return types;
}

bool nested_too_deeply(std::string_view json) {
    std::size_t depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        if (in_string) {
            if (json[i] == '\\') ++i;
            else if (json[i] == '"') in_string = false;
        } else if (json[i] == '"') {
            in_string = true;
        } else if (json[i] == '{' || json[i] == '[') {
            if (++depth > most_nesting) return true;
        } else if ((json[i] == '}' || json[i] == ']') && depth > 0) {
            --depth;
        }
    }
    return false;
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    append_escaped(out, text);
    return out += '"';
}

// The type of a JSON text from its first character; 0 if it is not JSON. The library takes a zero byte for the end of the
// text, and skips a byte order mark in front of it.
JsonTypes type_of_text(std::string_view text) {
    if (text.empty() || text.find('\0') != std::string_view::npos || nested_too_deeply(text) || !Json::accept(text)) return 0;
    switch (text.front()) {
    case '{': return json_object;
    case '[': return json_array;
    case '"': return json_string;
    case 't':
    case 'f': return json_boolean;
    case 'n': return json_null;
    case '\xEF': return 0;
    default: return text.find_first_of(".eE") == std::string_view::npos ? json_integer : json_number;
    }
}

// Whether a value of this one type may stand where `types` are allowed.
bool allows(JsonTypes types, JsonTypes type) {
    if (types == 0 || (types & type) != 0) return true;
    if (type == json_integer) return (types & json_number) != 0;
    return type == json_number && (types & json_integer) != 0; // 2.0
}

} // namespace

JsonTypes json_types(const Json& schema, const Json& root) {
    int steps = most_schema_steps;
    const JsonTypes types = resolve(schema, root, steps);
    return steps < 0 ? 0 : types;
}

JsonTypes Tool::types(std::string_view parameter) const {
    const Json* properties = member(parameters_, "properties");
    if (properties == nullptr || !properties->is_object()) return 0;
    const auto at = properties->find(std::string(parameter));
    return at == properties->end() ? JsonTypes{0} : json_types(*at, parameters_);
}

bool Tool::declares(std::string_view parameter) const {
    const Json* properties = member(parameters_, "properties");
    return properties && properties->is_object() && properties->contains(std::string(parameter));
}

bool Tool::accepts(const Json& arguments) const {
    if (!arguments.is_object() || arguments.empty()) return false;
    for (const auto& [key, value] : arguments.items())
        if (!declares(key) || !allows(types(key), type_of(value))) return false;
    const Json* required = member(parameters_, "required");
    if (required == nullptr || !required->is_array()) return true;
    return std::all_of(required->begin(), required->end(),
                       [&](const Json& key) { return key.is_string() && arguments.contains(key.get<std::string>()); });
}

ToolSet::ToolSet(const Json& tools) {
    if (!tools.is_array()) return;
    for (const Json& entry : tools) {
        const Json* function = member(entry, "function");
        const Json& inner = function ? *function : entry;
        const Json* name = member(inner, "name");
        if (name == nullptr || !name->is_string() || name->get_ref<const std::string&>().empty()) continue;
        const Json* schema = member(inner, "parameters");
        if (schema == nullptr) schema = member(inner, "input_schema");
        tools_.emplace_back(name->get<std::string>(), schema ? *schema : Json());
    }
}

const Tool* ToolSet::find(std::string_view name) const {
    const auto at = std::find_if(tools_.begin(), tools_.end(), [&](const Tool& tool) { return tool.name() == name; });
    return at == tools_.end() ? nullptr : &*at;
}

std::string typed_argument(std::string_view text, JsonTypes types) {
    if (types == json_string) return quoted(text);
    std::string_view value = trimmed(text);
    if (value == "True") value = "true";
    if (value == "False") value = "false";
    if (value == "None") value = "null";
    const JsonTypes type = type_of_text(value);
    const bool may_be_string = types == 0 || (types & json_string) != 0;
    // Quotes around text that may be a string are part of it, unless nothing says what it should be.
    if (type == json_string && types != 0 && may_be_string) return quoted(text);
    if (type == json_string && !may_be_string) { // a number in quotes
        const auto inside = Json::parse(value).get<std::string>();
        const JsonTypes inner = type_of_text(trimmed(inside));
        if (inner != 0 && inner != json_string && allows(types, inner)) return std::string(trimmed(inside));
        return std::string(value);
    }
    if (type != 0 && allows(types, type)) return std::string(value);
    return quoted(text);
}

void append_escaped(std::string& out, std::string_view text) {
    static constexpr char hex[] = "0123456789abcdef";
    for (const char c : text) {
        switch (c) {
        case '"': out += "\\\""; break;
        case '\\': out += "\\\\"; break;
        case '\n': out += "\\n"; break;
        case '\r': out += "\\r"; break;
        case '\t': out += "\\t"; break;
        default:
            if (const auto byte = static_cast<unsigned char>(c); byte < 0x20) {
                out += "\\u00";
                out += hex[byte >> 4];
                out += hex[byte & 15];
            } else {
                out += c;
            }
        }
    }
}

} // namespace lucebox::text
