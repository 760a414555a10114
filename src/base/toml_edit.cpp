#include "base/toml_edit.h"

#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <vector>

namespace lucebox {
namespace {

std::string_view trimmed(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        lines.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return lines;
}

// "[ server ] # comment" is "server"; nothing for other lines.
std::optional<std::string_view> section_of(std::string_view line) {
    line = trimmed(line);
    if (!line.starts_with('[')) return std::nullopt;
    return trimmed(line.substr(1, line.find(']') - 1));
}

// The key of `port = 1`, without quotes; empty for other lines.
std::string_view key_of(std::string_view line) {
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos || trimmed(line).starts_with('#')) return {};
    std::string_view key = trimmed(line.substr(0, equals));
    if (key.size() >= 2 && (key.front() == '"' || key.front() == '\'') && key.back() == key.front()) key = key.substr(1, key.size() - 2);
    return key;
}

Result<toml::table> parsed(std::string_view text) {
    toml::parse_result result = toml::parse(text);
    if (result) return std::move(result).table();
    return Error{ErrorKind::invalid_data, fmt::format("line {}: {}", result.error().source().begin.line, result.error().description())};
}

// What the file should mean afterwards; nothing if it cannot mean that.
std::optional<toml::table> expected(toml::table table, std::string_view section, std::string_view key, const std::optional<std::string>& literal) {
    if (!table.contains(section) && literal) table.insert(section, toml::table{});
    toml::table* inner = table[section].as_table();
    if (inner == nullptr) return literal ? std::nullopt : std::optional(std::move(table));
    inner->erase(key);
    if (!literal) return table;
    toml::parse_result wished = toml::parse(fmt::format("value = {}", *literal));
    if (!wished) return std::nullopt;
    wished.table().get("value")->visit([&](const auto& node) { inner->insert(key, node); });
    return table;
}

} // namespace

Result<std::string> edit_toml(std::string_view text, std::string_view section, std::string_view key, const std::optional<std::string>& literal) {
    LUCEBOX_TRY(toml::table before, parsed(text));
    std::vector<std::string> lines = lines_of(text);
    const std::string entry = literal ? fmt::format("{} = {}", key, *literal) : "";
    std::optional<std::size_t> header, present, last; // of our section: its line, the key's line, the last line with something
    std::string current;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        if (const auto name = section_of(lines[i])) current = *name;
        if (current != section) continue;
        if (section_of(lines[i])) header = i;
        if (!trimmed(lines[i]).empty()) last = i;
        if (key_of(lines[i]) == key) present = i;
    }
    using Difference = std::vector<std::string>::difference_type;
    if (present && literal) {
        lines[*present] = entry;
    } else if (present) {
        lines.erase(lines.begin() + static_cast<Difference>(*present));
    } else if (literal && header) {
        lines.insert(lines.begin() + static_cast<Difference>(*last) + 1, entry);
    } else if (literal) {
        if (!lines.empty()) lines.emplace_back();
        lines.push_back(fmt::format("[{}]", section));
        lines.push_back(entry);
    }
    std::string result;
    for (const std::string& line : lines) result += line + '\n';
    auto after = parsed(result);
    const auto meant = expected(std::move(before), section, key, literal);
    if (!after || !meant || *after != *meant) {
        return Error{ErrorKind::unsupported, fmt::format("{}.{} stands in the file in a way that cannot be changed safely", section, key), "change it by hand: lucebox config edit"};
    }
    return result;
}

Result<std::optional<std::string>> toml_value(std::string_view text, std::string_view section, std::string_view key) {
    LUCEBOX_TRY(const toml::table table, parsed(text));
    const auto node = table[section][key];
    if (!node) return std::optional<std::string>();
    if (const auto* word = node.as_string()) return std::optional(word->get());
    if (const auto* truth = node.as_boolean()) return std::optional<std::string>(truth->get() ? "true" : "false");
    if (const auto* integer = node.as_integer()) return std::optional(fmt::format("{}", integer->get()));
    if (const auto* number = node.as_floating_point()) return std::optional(fmt::format("{}", number->get()));
    return std::optional<std::string>("...");
}

std::string toml_string(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            out += fmt::format("\\u{:04X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        } else {
            out += c;
        }
    }
    return out + '"';
}

} // namespace lucebox
