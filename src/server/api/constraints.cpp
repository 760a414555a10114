#include "server/api/constraints.h"

#include <algorithm>
#include <array>

namespace lucebox::server {

namespace {

constexpr std::array kCombining{"additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames", "$ref", "anyOf", "oneOf", "not", "if"};

// A key that is known to be new: [] would look for it among all.
void append(Json& object, const std::string& key, Json value) {
    object.get_ref<Json::object_t&>().emplace_back(key, std::move(value));
}

// References count from the root of the schema they were written for; it now stands at `place` of a larger one.
Json moved(const Json& schema, const std::string& place) {
    if (schema.is_array()) {
        Json result = Json::array();
        for (const Json& entry : schema) result.push_back(moved(entry, place));
        return result;
    }
    if (!schema.is_object()) return schema;
    Json result = Json::object();
    for (const auto& [key, value] : schema.items()) {
        const bool is_reference = key == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with("#");
        append(result, key, is_reference ? Json("#" + place + value.get<std::string>().substr(1)) : moved(value, place));
    }
    return result;
}

// An object that names its properties and doesn't say whether there may be others: here there may not. A small model goes on
// inventing arguments where it may, and what is allowed by the closed schema is allowed by the open one, too. Schemas that
// are put together of several are left alone: closing the parts would change the whole.
Json closed(const Json& schema) {
    if (schema.is_array()) {
        Json result = Json::array();
        for (const Json& entry : schema) result.push_back(closed(entry));
        return result;
    }
    if (!schema.is_object()) return schema;
    Json result = Json::object();
    for (const auto& [key, value] : schema.items()) {
        const bool is_data = key == "enum" || key == "const" || key == "default" || key == "examples";
        const bool is_map = value.is_object() && (key == "properties" || key == "$defs" || key == "definitions"); // names to schemas
        if (is_map) {
            Json map = Json::object();
            for (const auto& [name, inner] : value.items()) append(map, name, closed(inner));
            append(result, key, std::move(map));
        } else {
            append(result, key, is_data ? value : closed(value));
        }
    }
    const auto properties = schema.find("properties");
    const bool names_them = properties != schema.end() && properties->is_object() && !properties->empty();
    const bool is_part = std::any_of(kCombining.begin(), kCombining.end(), [&](const char* key) { return schema.contains(key); });
    if (names_them && !is_part && schema.value("type", Json("object")) == "object") result["additionalProperties"] = false;
    return result;
}

bool has_key(const Json& schema, const char* name) {
    if (schema.is_object() && schema.contains(name)) return true;
    return schema.is_structured() && std::any_of(schema.begin(), schema.end(), [&](const Json& entry) { return has_key(entry, name); });
}

// {"name": N, "arguments": {..}}: the form of a call that every parser of calls knows. `strict`: with the tool's schema.
Json call_schema(const Json& tool, const std::string& place, bool strict) {
    const Json& function = tool["function"];
    Json arguments{{"type", "object"}};
    if (strict && function.contains("parameters") && function["parameters"].is_object() && !function["parameters"].empty())
        arguments = moved(has_key(function["parameters"], "allOf") ? function["parameters"] : closed(function["parameters"]), place + "/properties/arguments");
    return {{"type", "object"},
            {"properties", {{"name", {{"const", function["name"]}}}, {"arguments", std::move(arguments)}}},
            {"required", Json::array({"name", "arguments"})},
            {"additionalProperties", false}};
}

Json any_call_schema(const ChatRequest& request, bool strict, const Json* otherwise) {
    Json branches = Json::array();
    const auto place = [&] { return "/anyOf/" + std::to_string(branches.size()); };
    if (otherwise != nullptr) branches.push_back(moved(*otherwise, place()));
    for (const Json& tool : request.tools) {
        if (request.tool_choice.kind == ToolChoice::Kind::named && tool["function"]["name"] != request.tool_choice.name) continue;
        branches.push_back(call_schema(tool, place(), strict));
    }
    return {{"anyOf", std::move(branches)}};
}

Answer<text::Grammar::Pointer> checked(Result<text::Grammar::Pointer> grammar, const std::string& param) {
    if (grammar) return *grammar;
    ApiError error = bad_field(param, grammar.error().hint.empty() ? grammar.error().message : grammar.error().message + " " + grammar.error().hint);
    error.code = "invalid_schema";
    return error;
}

} // namespace

Answer<text::Grammar::Pointer> grammar_of(const AnswerForm& form) {
    switch (form.kind) {
    case AnswerForm::Kind::free: return text::Grammar::Pointer();
    case AnswerForm::Kind::json_object: return checked(text::Grammar::any_json_object(), form.param);
    case AnswerForm::Kind::json_schema: return checked(text::Grammar::from_json_schema(form.schema), form.param);
    case AnswerForm::Kind::grammar: return checked(text::Grammar::from_gbnf(form.grammar), form.param);
    }
    return text::Grammar::Pointer();
}

Answer<text::Grammar::Pointer> grammar_of(const ChatRequest& request) {
    const AnswerForm& form = request.options.form;
    if (request.tools.is_null() || request.tools.empty()) return grammar_of(form);
    const bool must_call = request.tool_choice.kind != ToolChoice::Kind::automatic;
    if (!must_call && (form.kind == AnswerForm::Kind::free || form.kind == AnswerForm::Kind::grammar)) return grammar_of(form);
    const Json any_object{{"type", "object"}};
    const Json* otherwise = must_call ? nullptr : form.kind == AnswerForm::Kind::json_schema ? &form.schema : &any_object;
    auto grammar = text::Grammar::from_json_schema(any_call_schema(request, true, otherwise));
    // A tool whose schema says more than a grammar can hold is still called, with arguments that are some object.
    if (!grammar) grammar = text::Grammar::from_json_schema(any_call_schema(request, false, otherwise));
    return checked(std::move(grammar), must_call ? "tools" : form.param);
}

ThinkingPlan plan_thinking(const Thinking& thinking, const Budgets& budgets, std::size_t room, std::size_t closing_tokens) {
    ThinkingPlan plan{std::nullopt, room};
    if (!thinking.has_budget || !thinking.enabled) return plan;
    // Half of a small answer may be thought, the rest is for the reply.
    const std::size_t reply = std::min({thinking.reply_budget.value_or(budgets.reply), budgets.reply, room / 2});
    const std::size_t most = room - reply;
    const std::size_t wanted = thinking.budget ? std::min(*thinking.budget, budgets.thinking) : budgets.tier(thinking.effort);
    const std::size_t budget = std::min(wanted, most);
    // The words that close a thought are part of the room too.
    const std::size_t closed_in_room = most > closing_tokens ? most - closing_tokens : 0;
    plan.budget = std::min(budget, closed_in_room);
    if (thinking.budget) plan.most_tokens = std::min(room, *plan.budget + closing_tokens + std::max<std::size_t>(reply, 1));
    return plan;
}

} // namespace lucebox::server
