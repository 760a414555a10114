#include "server/api/control_text.h"

#include <algorithm>

namespace lucebox::server {

namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";

bool is_word(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

bool holds(const Json& json, std::string_view mark) {
    if (json.is_string()) return json.get_ref<const std::string&>().find(mark) != std::string::npos;
    if (!json.is_structured()) return false;
    for (const auto& [key, value] : json.items())
        if (key.find(mark) != std::string::npos || holds(value, mark)) return true;
    return false;
}

} // namespace

ControlText::ControlText(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    for (text::TokenId id = 0; id < tokenizer.vocabulary_size(); ++id) {
        const auto kind = tokenizer.kind(id);
        if (kind != text::TokenKind::control && kind != text::TokenKind::unknown) continue;
        std::string name = tokenizer.token_bytes(id, true);
        if (!name.empty()) names_.push_back(std::move(name));
    }
    std::sort(names_.begin(), names_.end());
    names_.erase(std::unique(names_.begin(), names_.end()), names_.end());
    for (const std::string& name : names_) {
        first_.set(static_cast<unsigned char>(name[0]));
        longest_ = std::max(longest_, name.size());
        for (std::size_t i = 1; i < name.size(); ++i)
            suffixes_.push_back(std::string_view(name).substr(i));
    }
    std::sort(suffixes_.begin(), suffixes_.end());
    suffixes_.erase(std::unique(suffixes_.begin(), suffixes_.end()), suffixes_.end());
}

// The 32 noncharacters U+FDD0..U+FDEF: Unicode will never give them a meaning, so text nearly never has one.
std::string ControlText::unused_mark(const Json& strings, std::string_view other) const {
    for (int last = 0x90; last <= 0xAF; ++last) {
        const std::string mark{'\xEF', '\xB7', static_cast<char>(last)};
        const auto in = [&](std::string_view text) { return text.find(mark) != std::string_view::npos; };
        if (!in(other) && !holds(strings, mark) && std::none_of(names_.begin(), names_.end(), in)) return mark;
    }
    return "";
}

// The bytes of the longest name that begins there; 0 if none. `unfinished`: the text ends while it still could be one.
std::size_t ControlText::match_at(std::string_view text, std::size_t begin, bool* unfinished) const {
    if (unfinished) *unfinished = false;
    if (!first_[static_cast<unsigned char>(text[begin])]) return 0;
    auto low = names_.begin(), high = names_.end(); // names that agree in the first `size` bytes
    std::size_t best = 0, size = 0;
    for (; begin + size < text.size(); ++size) {
        const auto c = static_cast<unsigned char>(text[begin + size]);
        const auto at = [&](const std::string& name) {
            return name.size() > size ? static_cast<int>(static_cast<unsigned char>(name[size])) : -1;
        };
        low = std::partition_point(low, high, [&](const std::string& name) { return at(name) < c; });
        high = std::partition_point(low, high, [&](const std::string& name) { return at(name) <= c; });
        if (low == high) return best;
        if (low->size() == size + 1) best = size + 1;
    }
    if (unfinished) *unfinished = std::any_of(low, high, [&](const std::string& name) { return name.size() > size; });
    return best;
}

// Whether `text` begins with a proper suffix of a name, or lies wholly inside one.
bool ControlText::continues_a_name(std::string_view text) const {
    if (text.empty()) return false;
    const auto inside = std::lower_bound(suffixes_.begin(), suffixes_.end(), text);
    if (inside != suffixes_.end() && inside->starts_with(text)) return true;
    for (std::size_t size = 1; size <= std::min(text.size(), longest_); ++size)
        if (std::binary_search(suffixes_.begin(), suffixes_.end(), text.substr(0, size))) return true;
    return false;
}

std::string ControlText::marked(std::string_view text, std::string_view mark) const {
    std::vector<std::size_t> places;
    const std::size_t begin = std::min(text.find_first_not_of(kSpace), text.size());
    const std::size_t end = text.find_last_not_of(kSpace) + 1; // npos + 1 == 0
    const std::string_view trimmed = begin < end ? text.substr(begin, end - begin) : std::string_view();
    if (!is_word(trimmed)) {
        if (continues_a_name(text) || continues_a_name(text.substr(0, end))) places.push_back(0);
        if (continues_a_name(trimmed) || continues_a_name(text.substr(begin))) places.push_back(begin);
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (!first_[static_cast<unsigned char>(text[i])]) continue;
        bool unfinished = false, unfinished_trimmed = false;
        const bool name = match_at(text, i, &unfinished) > 0;
        if (!name && !unfinished && i < end) match_at(text.substr(0, end), i, &unfinished_trimmed);
        if (name || unfinished || unfinished_trimmed) places.push_back(i);
    }
    if (places.empty()) return std::string(text);
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    std::string result;
    std::size_t copied = 0;
    for (const std::size_t place : places) {
        result.append(text.substr(copied, place - copied)).append(mark);
        copied = place;
    }
    return result.append(text.substr(copied));
}

Json ControlText::marked_strings(const Json& json, std::string_view mark) const {
    if (json.is_string()) return marked(json.get_ref<const std::string&>(), mark);
    if (json.is_array()) {
        Json result = Json::array();
        for (const Json& entry : json)
            result.push_back(marked_strings(entry, mark));
        return result;
    }
    if (!json.is_object()) return json;
    Json result = Json::object();
    for (const auto& [key, value] : json.items())
        result[marked(key, mark)] = marked_strings(value, mark);
    return result;
}

std::string ControlText::unmarked(std::string_view text, std::string_view mark) {
    std::string result;
    for (std::size_t at; !mark.empty() && (at = text.find(mark)) != std::string_view::npos;) {
        result += text.substr(0, at);
        text.remove_prefix(at + mark.size());
    }
    return result += text;
}

std::size_t ControlText::last_name(std::string_view text, std::size_t from) const {
    std::size_t last = std::string_view::npos;
    for (std::size_t i = from; i < text.size();) {
        const std::size_t bytes = match_at(text, i);
        if (bytes > 0) last = i;
        i += std::max<std::size_t>(bytes, 1);
    }
    return last;
}

std::vector<text::TokenId> ControlText::encode(std::string_view text, std::string_view mark) const {
    if (mark.empty() || text.find(mark) == std::string_view::npos)
        return tokenizer_.encode(text, {.parse_special = true});
    std::vector<text::TokenId> tokens;
    const auto add = [&](std::string_view part, bool trusted) {
        if (part.empty()) return;
        const auto ids = tokenizer_.encode(part, {.parse_special = trusted});
        tokens.insert(tokens.end(), ids.begin(), ids.end());
    };
    std::size_t trusted_begin = 0; // not yet encoded from here on
    std::size_t plain_begin = 0;   // behind the last control token
    bool has_mark = false;         // since plain_begin
    const auto end_plain = [&](std::size_t end) {
        if (!has_mark) return;
        add(text.substr(trusted_begin, plain_begin - trusted_begin), true);
        add(unmarked(text.substr(plain_begin, end - plain_begin), mark), false);
        trusted_begin = end;
        has_mark = false;
    };
    for (std::size_t i = 0; i < text.size();) {
        if (text.substr(i).starts_with(mark)) {
            has_mark = true;
            i += mark.size();
            if (i < text.size() && !text.substr(i).starts_with(mark)) ++i; // no name begins here
            continue;
        }
        const std::size_t bytes = match_at(text, i);
        if (bytes > 0) {
            end_plain(i);
            plain_begin = i + bytes;
        }
        i += std::max<std::size_t>(bytes, 1);
    }
    end_plain(text.size());
    add(text.substr(trusted_begin), true);
    return tokens;
}

} // namespace lucebox::server
