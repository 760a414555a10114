#include "base/options.h"

#include "base/ascii.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace lucebox {
namespace {

std::vector<std::string> split(std::string_view text, char separator) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        const auto end = text.find(separator);
        const auto part = trimmed(text.substr(0, end));
        if (!part.empty()) parts.emplace_back(part);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    }
    return parts;
}

std::optional<bool> parse_boolean(std::string_view text) {
    const std::string word = lower(text);
    if (word == "true" || word == "yes" || word == "on" || word == "1") return true;
    if (word == "false" || word == "no" || word == "off" || word == "0") return false;
    return std::nullopt;
}

template <class Number>
std::optional<Number> parse_whole(std::string_view text) {
    Number value{};
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<double> parse_number(std::string_view text) {
    const auto value = parse_whole<double>(text);
    return value && std::isfinite(*value) ? value : std::nullopt;
}

struct Unit {
    std::string_view suffix;
    double factor;
};

// A figure with a unit, rounded to whole base units; refuses what 2^53 cannot hold exactly.
std::optional<std::int64_t> parse_with_unit(std::string_view text, std::span<const Unit> units) {
    const auto digits = text.find_first_not_of("0123456789.");
    const auto figure = parse_number(text.substr(0, digits));
    const std::string suffix = digits == std::string_view::npos ? "" : lower(trimmed(text.substr(digits)));
    if (!figure) return std::nullopt;
    for (const auto& unit : units) {
        if (unit.suffix != suffix) continue;
        const double value = std::round(*figure * unit.factor);
        if (value < 0 || value > 9007199254740992.0) return std::nullopt;
        return static_cast<std::int64_t>(value);
    }
    return std::nullopt;
}

constexpr Unit duration_units[] = {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"min", 6e4}, {"h", 3.6e6}};
constexpr Unit byte_units[] = {{"", 1},          {"b", 1},          {"k", 1024.0},      {"kb", 1024.0}, {"kib", 1024.0},
                               {"m", 1048576.0}, {"mb", 1048576.0}, {"mib", 1048576.0}, {"g", 0x1p30},  {"gb", 0x1p30},
                               {"gib", 0x1p30},  {"t", 0x1p40},     {"tb", 0x1p40},     {"tib", 0x1p40}};

// Any figure of `type` on one scale, for comparing with the ends of a range.
std::optional<double> parse_figure(OptionType type, std::string_view text) {
    const auto as_double = [](std::optional<std::int64_t> value) {
        return value ? std::optional(static_cast<double>(*value)) : std::nullopt;
    };
    switch (type) {
    case OptionType::integer: return as_double(parse_whole<std::int64_t>(text));
    case OptionType::number: return parse_number(text);
    case OptionType::duration: return as_double(parse_with_unit(text, duration_units));
    case OptionType::bytes: return as_double(parse_with_unit(text, byte_units));
    default: return std::nullopt;
    }
}

bool in_range(const OptionSpec& spec, double figure) {
    const auto dots = spec.range.find("..");
    if (dots == std::string_view::npos) return true;
    const auto low = parse_figure(spec.type, spec.range.substr(0, dots));
    const auto high = parse_figure(spec.type, spec.range.substr(dots + 2));
    return (!low || figure >= *low) && (!high || figure <= *high);
}

std::string_view expected(OptionType type) {
    switch (type) {
    case OptionType::boolean: return "true or false";
    case OptionType::integer: return "a whole number";
    case OptionType::number: return "a number";
    case OptionType::duration: return "a duration such as 250ms, 10s, 5m or 2h";
    case OptionType::bytes: return "a size such as 512, 16K, 32M or 4G";
    default: return "text";
    }
}

Error wrong_value(const OptionSetting& setting, std::string_view wanted) {
    const auto given = setting.spec->secret ? std::string("its value") : fmt::format("\"{}\"", setting.text);
    Error error{ErrorKind::usage, fmt::format("{}: {} is not {}", setting.where, given, wanted)};
    if (setting.origin == OptionOrigin::environment && setting.text.starts_with("tcp://")) {
        error.hint = "Kubernetes sets this variable for a service of the same name; use enableServiceLinks: false, "
                     "another service name, or the flag";
    }
    return error;
}

Result<Options::Value> parse_choice(const OptionSetting& setting) {
    const auto choices = split(setting.spec->range, '|');
    const std::string word = lower(setting.text);
    for (const auto& choice : choices) {
        if (choice == word) return Options::Value(choice);
    }
    auto error = wrong_value(setting, "one of " + fmt::format("{}", fmt::join(choices, ", ")));
    const std::vector<std::string_view> known(choices.begin(), choices.end());
    const auto near = nearest_name(word, known);
    if (error.hint.empty() && !near.empty()) error.hint = fmt::format("did you mean {}?", near);
    return error;
}

Result<Options::Value> parse_figure_value(const OptionSetting& setting) {
    const auto& spec = *setting.spec;
    const auto figure = parse_figure(spec.type, trimmed(setting.text));
    if (!figure) return wrong_value(setting, expected(spec.type));
    if (!in_range(spec, *figure)) return wrong_value(setting, fmt::format("in the range {}", spec.range));
    switch (spec.type) {
    case OptionType::number: return Options::Value(*figure);
    case OptionType::duration: return Options::Value(std::chrono::milliseconds(static_cast<std::int64_t>(*figure)));
    case OptionType::bytes: return Options::Value(static_cast<std::int64_t>(*figure));
    default: return Options::Value(*parse_whole<std::int64_t>(trimmed(setting.text)));
    }
}

std::string expand_home(const std::string& path, const Environment& environment) {
    if (path != "~" && !path.starts_with("~/")) return path;
    const auto home = environment.find("HOME");
    return home == environment.end() || home->second.empty() ? path : home->second + path.substr(1);
}

} // namespace

std::string_view name_of(OptionOrigin origin) {
    switch (origin) {
    case OptionOrigin::default_value: return "default";
    case OptionOrigin::file: return "file";
    case OptionOrigin::environment: return "environment";
    case OptionOrigin::flag: return "flag";
    }
    return "default";
}

Environment process_environment() {
    Environment environment;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text = *entry;
        const auto equals = text.find('=');
        if (equals != std::string_view::npos) environment.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    return environment;
}

std::string variable_name(const OptionSpec& spec) {
    std::string name = "LUCEBOX_";
    for (const char c : spec.name) {
        name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
    return name;
}

std::string file_key(const OptionSpec& spec) {
    std::string key = spec.section.empty() ? std::string() : fmt::format("{}.", spec.section);
    for (const char c : spec.name)
        key += c == '-' ? '_' : c;
    return key;
}

// Optimal string alignment distance (Levenshtein with swaps of neighbours), over two names of a few dozen letters.
static std::size_t edit_distance(std::string_view a, std::string_view b) {
    const std::size_t width = b.size() + 1;
    std::vector<std::size_t> table((a.size() + 1) * width);
    const auto cell = [&](std::size_t i, std::size_t j) -> std::size_t& { return table[i * width + j]; };
    for (std::size_t i = 0; i <= a.size(); ++i)
        cell(i, 0) = i;
    for (std::size_t j = 0; j <= b.size(); ++j)
        cell(0, j) = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = cell(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1);
            cell(i, j) = std::min({replaced, cell(i - 1, j) + 1, cell(i, j - 1) + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cell(i, j) = std::min(cell(i, j), cell(i - 2, j - 2) + 1);
            }
        }
    }
    return table.back();
}

std::string_view nearest_name(std::string_view name, std::span<const std::string_view> known) {
    if (name.size() > 100) return {};
    std::string_view best;
    // Two slips in a long word, one in a short one: beyond that a suggestion misleads more often than it helps.
    std::size_t best_distance = name.size() >= 5 ? 3 : 2;
    for (const auto candidate : known) {
        const std::size_t distance = edit_distance(name, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

std::vector<OptionSetting> options_from_environment(std::span<const OptionSpec> table, const Environment& environment,
                                                    std::vector<std::string>& warnings) {
    std::vector<OptionSetting> settings;
    std::vector<std::string> names;
    for (const auto& spec : table) {
        names.push_back(variable_name(spec));
        const auto found = environment.find(names.back());
        if (found == environment.end() || found->second.empty()) continue;
        settings.push_back({&spec, found->second, OptionOrigin::environment, names.back()});
    }
    const std::vector<std::string_view> known(names.begin(), names.end());
    for (const auto& [name, value] : environment) {
        if (name == "LUCEBOX_HOME" || name == "LUCEBOX_CONFIG") continue;
        if (!name.starts_with("LUCEBOX_") || std::find(names.begin(), names.end(), name) != names.end()) continue;
        const auto near = nearest_name(name, known);
        if (!near.empty()) warnings.push_back(fmt::format("{} is not an option; did you mean {}?", name, near));
    }
    return settings;
}

Result<Options::Value> parse_option(const OptionSetting& setting, const Environment& environment) {
    switch (setting.spec->type) {
    case OptionType::boolean: {
        const auto value = parse_boolean(trimmed(setting.text));
        if (!value) return wrong_value(setting, expected(OptionType::boolean));
        return Options::Value(*value);
    }
    case OptionType::text: return Options::Value(setting.text);
    case OptionType::list: return Options::Value(split(setting.text, ','));
    case OptionType::path: return Options::Value(expand_home(setting.text, environment));
    case OptionType::choice: return parse_choice(setting);
    default: return parse_figure_value(setting);
    }
}

Result<Options> Options::resolve(std::span<const OptionSpec> table, std::span<const OptionSetting> settings,
                                 const Environment& environment) {
    Options options;
    for (const auto& spec : table) {
        OptionSetting best{&spec, std::string(spec.default_value), OptionOrigin::default_value, "default"};
        bool set = !spec.default_value.empty();
        for (const auto& setting : settings) {
            if (setting.spec != &spec || setting.origin < best.origin) continue;
            best = setting;
            set = true;
        }
        Entry entry{&spec, best.text, {}, best.origin, best.where};
        if (set) {
            LUCEBOX_TRY(entry.value, parse_option(best, environment));
        }
        options.entries_.push_back(std::move(entry));
    }
    return options;
}

std::string Options::Entry::shown() const {
    return spec->secret && !text.empty() ? "********" : text;
}

const Options::Entry& Options::entry(std::string_view name) const {
    for (const auto& candidate : entries_) {
        if (candidate.spec->name == name) return candidate;
    }
    std::fprintf(stderr, "bug: no option is named %.*s\n", static_cast<int>(name.size()), name.data());
    std::abort();
}

namespace {

// The value as T; T{} when nobody set it; a mismatch of types is a bug.
template <class T>
const T& value_as(const Options::Entry& entry) {
    static const T unset{};
    if (std::holds_alternative<std::monostate>(entry.value)) return unset;
    if (const T* value = std::get_if<T>(&entry.value)) return *value;
    std::fprintf(stderr, "bug: option %s is read as another type than its own\n",
                 std::string(entry.spec->name).c_str());
    std::abort();
}

} // namespace

bool Options::is_set(std::string_view name) const {
    return !std::holds_alternative<std::monostate>(entry(name).value);
}
bool Options::boolean(std::string_view name) const {
    return value_as<bool>(entry(name));
}
std::int64_t Options::integer(std::string_view name) const {
    return value_as<std::int64_t>(entry(name));
}
double Options::number(std::string_view name) const {
    return value_as<double>(entry(name));
}
const std::string& Options::text(std::string_view name) const {
    return value_as<std::string>(entry(name));
}
std::filesystem::path Options::path(std::string_view name) const {
    return value_as<std::string>(entry(name));
}
const std::vector<std::string>& Options::list(std::string_view name) const {
    return value_as<std::vector<std::string>>(entry(name));
}
std::chrono::milliseconds Options::duration(std::string_view name) const {
    return value_as<std::chrono::milliseconds>(entry(name));
}

} // namespace lucebox
