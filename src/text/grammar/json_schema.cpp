// JSON Schema (draft 2020-12, the subset of docs/structured-output.md) into expressions over the bytes of JSON text.
//
// An object's properties may come in any order, each at most once. Between tokens there may be spaces and one line break,
// as JSON is written; runs are bounded, so that a model can't fill its answer with white space.
#include "text/grammar/grammar.h"
#include "text/grammar/json_numbers.h"
#include "text/grammar/pattern.h"
#include "text/tools/tool_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <unordered_map>

namespace lucebox::text {
namespace {

constexpr std::size_t most_depth = 128;
constexpr std::uint32_t most_spaces = 16, most_indentation = 200;
constexpr std::uint32_t most_divisor = 512;

// Say nothing about which values are valid.
constexpr std::array annotations{"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
                                 "$comment", "$anchor", "$defs", "definitions", "format", "contentEncoding", "contentMediaType", "strict", "nullable",
                                 "discriminator", "x-order", "$vocabulary"};

// Formats that are worth holding a model to; others stay annotations.
const char* pattern_of_format(const std::string& format) {
    if (format == "date-time")
        return "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$";
    if (format == "date") return "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$";
    if (format == "time") return "^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$";
    if (format == "uuid") return "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";
    if (format == "ipv4") return "^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])$";
    return nullptr;
}

class SchemaReader {
public:
    SchemaReader(const Json& root, const GrammarBudget& budget) : root_(root), b_(budget) {}

    Result<Grammar::Pointer> run() {
        make_common_rules();
        const std::uint32_t start = b_.new_rule();
        ExpressionPointer value = read(root_, "", 0);
        if (!error_.empty()) return Error{ErrorKind::unsupported, error_};
        b_.define(start, value);
        return Grammar::compile(b_, start);
    }

    Result<Grammar::Pointer> run_any_object() {
        make_common_rules();
        const std::uint32_t start = b_.new_rule();
        b_.define(start, b_.call(any_object_));
        return Grammar::compile(b_, start);
    }

private:
    ExpressionPointer fail(const std::string& path, std::string_view message) {
        if (error_.empty()) error_ = fmt::format("The schema{} {}.", path.empty() ? "" : " at " + path, message);
        return b_.literal("");
    }

    // ---- what JSON is made of

    void make_common_rules() {
        ByteSet spaces;
        spaces.set(' ').set('\t');
        space_ = b_.new_rule();
        b_.define(space_, b_.sequence({b_.repeat(b_.bytes(spaces), 0, most_spaces),
                                       b_.optional(b_.sequence({b_.optional(b_.literal("\r")), b_.literal("\n"),
                                                                b_.repeat(b_.bytes(spaces), 0, most_indentation)}))}));
        ByteSet plain; // all that may stand as it is inside a string; whether it is UTF-8 is up to the model
        for (unsigned c = 0x20; c < 256; ++c) plain.set(c, c != '"' && c != '\\' && c != 0x7F);
        plain.set(0x7F);
        string_inside_ = b_.new_rule();
        b_.define(string_inside_, b_.repeat(b_.alternatives({b_.bytes(plain), escape()}), 0, unlimited));
        any_ = b_.new_rule();
        any_object_ = b_.new_rule();
        any_array_ = b_.new_rule();
        const auto entry = b_.sequence({string(), s(), b_.literal(":"), s(), b_.call(any_)});
        const auto list = [&](const ExpressionPointer& item) {
            return b_.optional(b_.sequence({item, b_.repeat(b_.sequence({s(), b_.literal(","), s(), item}), 0, unlimited), s()}));
        };
        b_.define(any_object_, b_.sequence({b_.literal("{"), s(), list(entry), b_.literal("}")}));
        b_.define(any_array_, b_.sequence({b_.literal("["), s(), list(b_.call(any_)), b_.literal("]")}));
        number_ = b_.new_rule();
        b_.define(number_, any_number(b_));
        b_.define(any_, b_.alternatives({string(), b_.call(number_), b_.literal("true"), b_.literal("false"), b_.literal("null"),
                                         b_.call(any_object_), b_.call(any_array_)}));
    }

    static std::string quoted(const std::string& key) { return Json(key).dump(-1, ' ', false, Json::error_handler_t::replace); }
    ExpressionPointer s() { return b_.call(space_); }
    ExpressionPointer string() { return b_.sequence({b_.literal("\""), b_.call(string_inside_), b_.literal("\"")}); }

    ExpressionPointer escape() {
        ByteSet simple, hex;
        for (const char c : std::string_view("\"\\/bfnrt")) simple.set(static_cast<unsigned char>(c));
        for (const char c : std::string_view("0123456789abcdefABCDEF")) hex.set(static_cast<unsigned char>(c));
        // Surrogates come in pairs or not at all: \uD83D\uDE00.
        const auto set = [](std::string_view text) {
            ByteSet out;
            for (const char c : text) out.set(static_cast<unsigned char>(c));
            return out;
        };
        const auto h = [&] { return b_.bytes(hex); };
        const auto d = b_.bytes(set("dD"));
        return b_.sequence(
            {b_.literal("\\"),
             b_.alternatives({b_.bytes(simple),
                              b_.sequence({b_.literal("u"),
                                           b_.alternatives({b_.sequence({b_.bytes(hex & ~set("dD")), h(), h(), h()}),
                                                            b_.sequence({d, b_.bytes(set("01234567")), h(), h()}),
                                                            b_.sequence({d, b_.bytes(set("89abAB")), h(), h(), b_.literal("\\u"), d,
                                                                         b_.bytes(set("cdefCDEF")), h(), h()})})})})});
    }

    // One character of a JSON string: escaped where it must be.
    ExpressionPointer character(const CharacterRanges& ranges) {
        CharacterRanges plain;
        std::vector<ExpressionPointer> parts;
        for (const auto& [low, high] : ranges) {
            std::uint32_t from = low;
            for (const std::uint32_t special : {0x1Fu, 0x22u, 0x5Cu}) { // below 0x20; the quote; the backslash
                const std::uint32_t begin = special == 0x1F ? 0 : special;
                for (std::uint32_t c = std::max(from, begin); c <= std::min(high, special); ++c) parts.push_back(b_.literal(escaped(c)));
                if (from < begin && high >= begin) plain.emplace_back(from, begin - 1);
                if (high >= begin) from = std::max(from, special + 1);
            }
            if (from <= high) plain.emplace_back(from, high);
        }
        if (!plain.empty()) parts.push_back(b_.characters(plain));
        return b_.alternatives(std::move(parts));
    }
    static std::string escaped(std::uint32_t c) {
        std::string out;
        const char byte = static_cast<char>(c);
        append_escaped(out, std::string_view(&byte, 1));
        return out;
    }

    ExpressionPointer text_of(const Json& value) {
        if (!value.is_structured()) {
            try {
                return b_.literal(value.dump());
            } catch (const Json::exception&) {
                return fail("", "holds text that is not UTF-8");
            }
        }
        std::vector<ExpressionPointer> parts{b_.literal(value.is_object() ? "{" : "["), s()};
        bool first = true;
        for (const auto& [key, entry] : value.items()) {
            if (!first) parts.insert(parts.end(), {b_.literal(","), s()});
            first = false;
            if (value.is_object()) parts.insert(parts.end(), {b_.literal(Json(key).dump()), s(), b_.literal(":"), s()});
            parts.insert(parts.end(), {text_of(entry), s()});
        }
        parts.push_back(b_.literal(value.is_object() ? "}" : "]"));
        return b_.sequence(std::move(parts));
    }

    // ---- schemas

    static const Json* member(const Json& schema, const char* name) {
        const auto at = schema.find(name);
        return at == schema.end() ? nullptr : &*at;
    }

    ExpressionPointer read(const Json& schema, const std::string& path, std::size_t depth) {
        if (!error_.empty()) return b_.literal("");
        if (depth > most_depth) return fail(path, "is nested too deeply");
        b_.meter().charge(schema.size());
        if (schema.is_boolean()) return schema.get<bool>() ? b_.call(any_) : b_.alternatives({});
        if (!schema.is_object()) return fail(path, "must be an object or true or false");
        if (const Json* reference = member(schema, "$ref")) return read_reference(schema, *reference, path);
        if (const Json* value = member(schema, "const")) {
            check_rest(schema, {"const", "type"}, path);
            return text_of(*value);
        }
        if (const Json* values = member(schema, "enum")) return read_enum(schema, *values, path);
        for (const char* word : {"anyOf", "oneOf"})
            if (const Json* branches = member(schema, word)) return read_branches(schema, word, *branches, path, depth);
        if (const Json* parts = member(schema, "allOf")) return read_all(schema, *parts, path, depth);
        const JsonTypes types = declared_types(schema, path);
        if (types == 0) {
            check_rest(schema, {}, path);
            return b_.call(any_);
        }
        std::vector<ExpressionPointer> alternatives;
        std::set<std::string> known{"type"};
        if (types & json_object) alternatives.push_back(read_object(schema, path, depth, known));
        if (types & json_array) alternatives.push_back(read_array(schema, path, depth, known));
        if (types & json_string) alternatives.push_back(read_string(schema, path, known));
        if (types & json_number) alternatives.push_back(read_number(schema, path, false, known));
        else if (types & json_integer) alternatives.push_back(read_number(schema, path, true, known));
        if (types & json_boolean) alternatives.push_back(b_.alternatives({b_.literal("true"), b_.literal("false")}));
        if (types & json_null) alternatives.push_back(b_.literal("null"));
        check_rest(schema, known, path);
        return b_.alternatives(std::move(alternatives));
    }

    // Keywords that nobody has read must not change which values are valid.
    void check_rest(const Json& schema, const std::set<std::string>& known, const std::string& path) {
        for (const auto& [key, value] : schema.items()) {
            if (known.contains(key) || std::find(annotations.begin(), annotations.end(), key) != annotations.end()) continue;
            fail(path, fmt::format("uses \"{}\", which is not supported here", key));
        }
    }

    JsonTypes declared_types(const Json& schema, const std::string& path) {
        const Json* type = member(schema, "type");
        if (type == nullptr) {
            if (member(schema, "properties") || member(schema, "required") || member(schema, "additionalProperties")) return json_object;
            if (member(schema, "items") || member(schema, "prefixItems")) return json_array;
            if (member(schema, "pattern") || member(schema, "minLength") || member(schema, "maxLength")) return json_string;
            if (member(schema, "minimum") || member(schema, "maximum") || member(schema, "multipleOf")) return json_number;
            return 0;
        }
        const JsonTypes types = json_types({{"type", *type}}, root_);
        if (types == 0) fail(path, "has a \"type\" that is not a JSON type");
        return types;
    }

    // A rule of its own, so that its masks are shared by all the ways to get there.
    ExpressionPointer as_rule(ExpressionPointer value) {
        if (value->kind == Expression::Kind::rule) return value;
        const std::uint32_t rule = b_.new_rule();
        b_.define(rule, std::move(value));
        return b_.call(rule);
    }

    // The same for what is written alike in several places.
    ExpressionPointer value_rule(const Json& schema, const std::string& path, std::size_t depth) {
        const std::string text = schema.dump(-1, ' ', false, Json::error_handler_t::replace);
        b_.meter().charge(1 + text.size() / 64);
        if (const auto known = values_.find(text); known != values_.end()) return known->second;
        return values_[text] = as_rule(read(schema, path, depth + 1));
    }

    ExpressionPointer read_reference(const Json& schema, const Json& reference, const std::string& path) {
        if (!reference.is_string()) return fail(path, "has a \"$ref\" that is not text");
        check_rest(schema, {"$ref"}, path);
        const std::string target = reference;
        if (const auto known = references_.find(target); known != references_.end()) return b_.call(known->second);
        if (!target.starts_with("#")) return fail(path, fmt::format("refers to \"{}\"; only references within the schema are followed", target));
        const Json* found = nullptr;
        try {
            const Json::json_pointer pointer(target.substr(1));
            if (root_.contains(pointer)) found = &root_.at(pointer);
        } catch (const Json::exception&) { // not a pointer
        }
        if (found == nullptr) return fail(path, fmt::format("refers to \"{}\", which does not exist", target));
        if (references_.size() > 4096) return fail("", "has too many references");
        const std::uint32_t rule = b_.new_rule();
        references_[target] = rule;
        b_.define(rule, b_.literal(""));
        const auto value = read(*found, target, ++reference_depth_);
        --reference_depth_;
        b_.define(rule, value);
        return b_.call(rule);
    }

    ExpressionPointer read_enum(const Json& schema, const Json& values, const std::string& path) {
        if (!values.is_array()) return fail(path, "has an \"enum\" that is no array");
        check_rest(schema, {"enum", "type"}, path);
        const JsonTypes types = member(schema, "type") ? declared_types(schema, path) : JsonTypes{0};
        std::vector<ExpressionPointer> alternatives;
        for (const Json& value : values) {
            const JsonTypes own = json_types({{"const", value}}, root_);
            const bool fits = types == 0 || (types & own) != 0 || (own == json_integer && (types & json_number) != 0);
            if (fits) alternatives.push_back(text_of(value));
        }
        return b_.alternatives(std::move(alternatives));
    }

    ExpressionPointer read_branches(const Json& schema, const char* word, const Json& branches, const std::string& path, std::size_t depth) {
        if (!branches.is_array() || branches.empty()) return fail(path, fmt::format("has an \"{}\" that is no list of schemas", word));
        // A type beside it, which all branches have anyway, changes nothing.
        std::set<std::string> known{word};
        if (const Json* type = member(schema, "type")) {
            const JsonTypes outer = json_types({{"type", *type}}, root_);
            const bool implied = std::all_of(branches.begin(), branches.end(), [&](const Json& branch) {
                b_.meter().charge();
                const JsonTypes inner = json_types(branch, root_);
                return inner != 0 && (inner & ~(outer | ((outer & json_number) ? json_integer : 0))) == 0;
            });
            if (implied) known.insert("type");
        }
        check_rest(schema, known, path);
        if (std::string_view(word) == "oneOf" && !exclusive(branches))
            return fail(path, "uses \"oneOf\" with branches that may hold at once; use \"anyOf\"");
        std::vector<ExpressionPointer> alternatives;
        for (std::size_t i = 0; i < branches.size(); ++i)
            alternatives.push_back(read(branches[i], fmt::format("{}/{}/{}", path, word, i), depth + 1));
        return b_.alternatives(std::move(alternatives));
    }

    // Whether no value can satisfy two branches: they differ in type, or in a constant that each requires.
    bool exclusive(const Json& branches) const {
        std::vector<std::pair<JsonTypes, const Json*>> seen;
        for (const Json& branch : branches) {
            JsonTypes types = json_types(branch, root_);
            if (types & json_number) types |= json_integer;
            const Json& schema = resolved(branch);
            for (const auto& [other_types, other] : seen) {
                b_.meter().charge();
                if (types != 0 && other_types != 0 && (types & other_types) == 0) continue;
                if (!differ_in_a_constant(schema, *other)) return false;
            }
            seen.emplace_back(types, &schema);
        }
        return true;
    }

    const Json& resolved(const Json& schema) const {
        const Json* now = &schema;
        for (int i = 0; i < 16 && now->is_object() && now->contains("$ref") && (*now)["$ref"].is_string(); ++i) {
            const std::string target = (*now)["$ref"];
            try {
                const Json::json_pointer pointer(target.starts_with("#") ? target.substr(1) : "/");
                if (!root_.contains(pointer)) break;
                now = &root_.at(pointer);
            } catch (const Json::exception&) {
                break;
            }
        }
        return *now;
    }

    // The values that a constant or a list of them allows; none: others, too.
    static std::span<const Json> constants(const Json& schema) {
        if (!schema.is_object()) return {};
        if (const Json* value = member(schema, "const")) return {value, 1};
        const Json* list = member(schema, "enum");
        return list && list->is_array() ? std::span<const Json>(list->get_ref<const Json::array_t&>()) : std::span<const Json>();
    }

    bool differ_in_a_constant(const Json& a, const Json& b) const {
        if (!a.is_object() || !b.is_object()) return false;
        if (a.contains("const") && b.contains("const")) return a["const"] != b["const"];
        const Json *of_a = member(a, "properties"), *of_b = member(b, "properties");
        if (!of_a || !of_b || !of_a->is_object() || !of_b->is_object()) return false;
        const auto requires_it = [&](const Json& schema, const std::string& key) {
            const auto list = schema.find("required");
            if (list == schema.end() || !list->is_array()) return false;
            b_.meter().charge(list->size());
            return std::find(list->begin(), list->end(), key) != list->end();
        };
        for (const auto& [key, schema] : of_a->items()) {
            b_.meter().charge(1 + of_b->size());
            const Json* theirs = member(*of_b, key.c_str());
            if (!theirs || !requires_it(a, key) || !requires_it(b, key)) continue;
            const auto mine = constants(schema), others = constants(*theirs);
            if (mine.empty() || others.empty()) continue;
            if (std::none_of(mine.begin(), mine.end(), [&](const Json& value) {
                    b_.meter().charge(others.size());
                    return std::find(others.begin(), others.end(), value) != others.end();
                })) return true;
        }
        return false;
    }

    // Objects that must satisfy several schemas: their properties together.
    ExpressionPointer read_all(const Json& schema, const Json& parts, const std::string& path, std::size_t depth) {
        if (!parts.is_array() || parts.empty()) return fail(path, "has an \"allOf\" that is no list of schemas");
        Json merged = schema;
        merged.erase("allOf");
        if (parts.size() == 1 && std::all_of(merged.items().begin(), merged.items().end(), [](const auto& item) {
                return std::find(annotations.begin(), annotations.end(), item.key()) != annotations.end();
            })) return read(parts[0], path + "/allOf/0", depth + 1);
        for (const Json& given : parts) {
            const Json& part = resolved(given);
            if (!part.is_object()) return fail(path, "uses \"allOf\" with something that is no schema");
            for (const auto& [key, value] : part.items()) {
                if (key == "properties" && value.is_object()) {
                    for (const auto& [name, property] : value.items()) {
                        Json& mine = merged["properties"];
                        b_.meter().charge(1 + mine.size());
                        if (mine.is_object() && mine.contains(name) && mine[name] != property)
                            return fail(path, fmt::format("uses \"allOf\" with two definitions of \"{}\"", name));
                        mine[name] = property;
                    }
                } else if (key == "required" && value.is_array()) {
                    for (const Json& name : value) merged["required"].push_back(name);
                } else if (key == "type") {
                    if (merged.contains("type") && merged["type"] != value) return fail(path, "uses \"allOf\" with different types");
                    merged["type"] = value;
                } else if (std::find(annotations.begin(), annotations.end(), key) == annotations.end()) {
                    if (merged.contains(key) && merged[key] != value) return fail(path, fmt::format("uses \"allOf\" with two values of \"{}\"", key));
                    if (key == "additionalProperties" && value != true) return fail(path, "uses \"allOf\" with \"additionalProperties\"");
                    merged[key] = value;
                }
            }
        }
        return read(merged, path, depth + 1);
    }

    ExpressionPointer read_object(const Json& schema, const std::string& path, std::size_t depth, std::set<std::string>& known) {
        known.insert({"properties", "required", "additionalProperties", "propertyNames", "unevaluatedProperties"});
        const Json* properties = member(schema, "properties");
        const Json* required = member(schema, "required");
        const Json* additional = member(schema, "additionalProperties");
        if (const Json* names = member(schema, "propertyNames"); names && *names != true && *names != Json{{"type", "string"}})
            return fail(path, "uses \"propertyNames\", which is not supported");
        if (properties && !properties->is_object()) return fail(path, "has \"properties\" that are no object");
        if (required && !required->is_array()) return fail(path, "has a \"required\" that is no array");
        if (additional == nullptr) additional = member(schema, "unevaluatedProperties");

        std::set<std::string> names, musts;
        const Json empty = Json::object();
        for (const Json& key : required ? *required : empty) {
            if (!key.is_string()) return fail(path, "has a \"required\" that is no list of names");
            b_.meter().charge();
            musts.insert(key.get<std::string>());
        }
        std::vector<Expression::Member> members;
        const auto entry = [&](ExpressionPointer key, ExpressionPointer value) {
            return b_.sequence({std::move(key), s(), b_.literal(":"), s(), std::move(value), s()});
        };
        for (const auto& [key, property] : (properties ? *properties : empty).items()) {
            names.insert(key);
            members.push_back({entry(b_.literal(quoted(key)),
                                     value_rule(property, path + "/properties/" + key, depth)),
                               musts.contains(key)});
        }
        const bool open = additional == nullptr || *additional != false;
        const Json anything = true;
        const Json& other = additional ? *additional : anything;
        for (const std::string& key : musts) {
            if (!names.insert(key).second) continue;
            members.push_back({entry(b_.literal(quoted(key)), open ? read(other, path, depth + 1) : b_.alternatives({})), true});
        }
        ExpressionPointer rest;
        if (open) rest = entry(b_.sequence({b_.literal("\""), as_rule(other_key(names)), b_.literal("\"")}), value_rule(other, path + "/additionalProperties", depth));
        return b_.sequence({b_.literal("{"), s(), b_.members(std::move(members), std::move(rest), b_.sequence({b_.literal(","), s()})), b_.literal("}")});
    }

    // The text of a key that is none of `names`. Without escapes, so that it can't be one of them in disguise.
    ExpressionPointer other_key(const std::set<std::string>& names) {
        std::set<std::string> literals;
        for (const std::string& name : names) {
            const std::string text = quoted(name);
            literals.insert(text.substr(1, text.size() - 2));
        }
        return not_one_of(literals, 0);
    }

    // Texts, from byte `depth` on, that are none of `names` (which agree up to there).
    ExpressionPointer not_one_of(const std::set<std::string>& names, std::size_t depth) {
        b_.meter().charge(names.size());
        ByteSet plain;
        for (unsigned c = 0x20; c < 256; ++c) plain.set(c, c != '"' && c != '\\');
        if (names.empty()) return b_.repeat(b_.bytes(plain), 0, unlimited);
        std::map<char, std::set<std::string>> by_byte;
        std::vector<ExpressionPointer> parts;
        ByteSet diverging = plain;
        bool ends = false;
        for (const std::string& name : names) {
            if (name.size() == depth) {
                ends = true;
                continue;
            }
            by_byte[name[depth]].insert(name);
            diverging.reset(static_cast<unsigned char>(name[depth]));
        }
        if (!ends) parts.push_back(b_.literal(""));
        parts.push_back(b_.sequence({b_.bytes(diverging), b_.repeat(b_.bytes(plain), 0, unlimited)}));
        for (const auto& [byte, rest] : by_byte) {
            if (byte == '\\' || depth > 256) continue;
            parts.push_back(b_.sequence({b_.literal(std::string(1, byte)), not_one_of(rest, depth + 1)}));
        }
        return b_.alternatives(std::move(parts));
    }

    std::optional<std::uint32_t> count(const Json& schema, const char* name, const std::string& path, std::set<std::string>& known) {
        known.insert(name);
        const Json* value = member(schema, name);
        if (value == nullptr) return std::nullopt;
        const bool whole = value->is_number() && value->get<double>() >= 0 && std::floor(value->get<double>()) == value->get<double>();
        if (!whole || value->get<double>() > static_cast<double>(b_.budget().repeat)) {
            fail(path, fmt::format("has a \"{}\" that is no count up to {}", name, b_.budget().repeat));
            return std::nullopt;
        }
        return static_cast<std::uint32_t>(value->get<double>());
    }

    ExpressionPointer read_array(const Json& schema, const std::string& path, std::size_t depth, std::set<std::string>& known) {
        known.insert({"items", "prefixItems", "additionalItems", "uniqueItems"});
        if (const Json* unique = member(schema, "uniqueItems"); unique && *unique == true)
            return fail(path, "uses \"uniqueItems\", which is not supported");
        const auto least = count(schema, "minItems", path, known).value_or(0);
        const auto most = count(schema, "maxItems", path, known).value_or(unlimited);
        const Json* prefix = member(schema, "prefixItems");
        const Json* items = member(schema, "items");
        if (prefix && !prefix->is_array()) return fail(path, "has \"prefixItems\" that are no array");
        if (items && items->is_array()) return fail(path, "has an array of \"items\"; use \"prefixItems\"");
        const std::uint32_t item = b_.new_rule();
        const Json anything = true;
        b_.define(item, b_.alternatives({}));
        b_.define(item, read(items ? *items : anything, path + "/items", depth + 1));
        if (least > most) return b_.alternatives({});

        // From the back: what may follow the i-th item.
        const auto separator = [&] { return b_.sequence({s(), b_.literal(","), s()}); };
        const std::uint32_t fixed = prefix ? std::min<std::uint32_t>(static_cast<std::uint32_t>(prefix->size()), most) : 0;
        ExpressionPointer tail;
        if (fixed > 0) {
            const std::uint32_t more_least = least > fixed ? least - fixed : 0, more_most = most == unlimited ? unlimited : most - fixed;
            tail = b_.repeat(b_.sequence({separator(), b_.call(item)}), more_least, more_most);
            for (std::uint32_t i = fixed; i-- > 0;) {
                const auto value = read((*prefix)[i], fmt::format("{}/prefixItems/{}", path, i), depth + 1);
                tail = i > 0 ? b_.sequence({separator(), value, tail}) : b_.sequence({value, tail});
                if (least <= i) tail = b_.optional(std::move(tail));
            }
        } else if (most > 0) {
            tail = b_.sequence({b_.call(item), b_.repeat(b_.sequence({separator(), b_.call(item)}), least > 0 ? least - 1 : 0,
                                                         most == unlimited ? unlimited : most - 1)});
            if (least == 0) tail = b_.optional(std::move(tail));
        } else {
            tail = b_.literal("");
        }
        return b_.sequence({b_.literal("["), s(), tail, s(), b_.literal("]")});
    }

    ExpressionPointer read_string(const Json& schema, const std::string& path, std::set<std::string>& known) {
        const auto least = count(schema, "minLength", path, known);
        const auto most = count(schema, "maxLength", path, known);
        known.insert("pattern");
        const Json* pattern = member(schema, "pattern");
        if (pattern && !pattern->is_string()) return fail(path, "has a \"pattern\" that is not text");
        std::string expression = pattern ? pattern->get<std::string>() : "";
        if (const Json* format = member(schema, "format"); !pattern && format && format->is_string() && !least && !most) {
            if (const char* known_format = pattern_of_format(*format)) expression = known_format;
        }
        const CharacterWriter write = [this](const CharacterRanges& ranges) { return character(ranges); };
        if (!expression.empty()) {
            if (least || most) return fail(path, "uses \"pattern\" together with a length, which is not supported");
            auto inside = read_pattern(expression, b_, write);
            if (!inside) return fail(path, "has a pattern that cannot be used: " + inside.error().message);
            return b_.sequence({b_.literal("\""), *inside, b_.literal("\"")});
        }
        if (!least && !most) return string();
        if (least && most && *least > *most) return b_.alternatives({});
        // Counted in characters, so an escape is one and the bytes of a character are one.
        const auto one = b_.alternatives({b_.characters(complement({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}})), escape()});
        return b_.sequence({b_.literal("\""), b_.repeat(one, least.value_or(0), most.value_or(unlimited)), b_.literal("\"")});
    }

    ExpressionPointer read_number(const Json& schema, const std::string& path, bool integer, std::set<std::string>& known) {
        known.insert({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"});
        NumberBounds bounds;
        const auto number = [&](const char* name) -> std::optional<double> {
            const Json* value = member(schema, name);
            if (value == nullptr) return std::nullopt;
            if (value->is_number()) return value->get<double>();
            fail(path, fmt::format("has a \"{}\" that is no number", name));
            return std::nullopt;
        };
        if (const auto low = number("minimum")) bounds.low = low;
        if (const auto low = number("exclusiveMinimum"); low && (!bounds.low || *low >= *bounds.low)) {
            bounds.low = low;
            bounds.low_open = true;
        }
        if (const auto high = number("maximum")) bounds.high = high;
        if (const auto high = number("exclusiveMaximum"); high && (!bounds.high || *high <= *bounds.high)) {
            bounds.high = high;
            bounds.high_open = true;
        }
        if (const auto divisor = number("multipleOf")) {
            const bool trivial = *divisor == 1 && integer;
            const bool small = *divisor >= 1 && *divisor <= most_divisor && std::floor(*divisor) == *divisor;
            if (!trivial && (bounds.any() || !small))
                return fail(path, fmt::format("uses \"multipleOf\" other than a whole number up to {} without bounds, which is not supported", most_divisor));
            if (!trivial) return multiples_of(static_cast<std::uint32_t>(*divisor), b_);
        }
        if (!bounds.any()) return integer ? any_integer(b_) : b_.call(number_);
        const auto result = integer ? integers_between(bounds, b_) : decimals_between(bounds, b_);
        return result ? result : b_.alternatives({});
    }

    const Json& root_;
    ExpressionBuilder b_;
    std::uint32_t space_ = 0, string_inside_ = 0, any_ = 0, any_object_ = 0, any_array_ = 0, number_ = 0;
    std::map<std::string, std::uint32_t> references_;
    std::unordered_map<std::string, ExpressionPointer> values_; // by the text of their schemas
    std::size_t reference_depth_ = 0;
    std::string error_;
};

} // namespace

Result<Grammar::Pointer> Grammar::from_json_schema(const Json& schema, const GrammarBudget& budget) {
    try {
        return SchemaReader(schema, budget).run();
    } catch (const GrammarTooLarge&) {
        return too_large("The schema");
    }
}

Result<Grammar::Pointer> Grammar::any_json_object() {
    static const Json none;
    return SchemaReader(none, {}).run_any_object();
}

} // namespace lucebox::text
