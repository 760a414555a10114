#include "app/config_file.h"

#include "app/aliases.h"
#include "app/commands.h"
#include "base/file.h"
#include "base/shown_path.h"
#include "base/toml_edit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <spawn.h>
#include <sys/wait.h>

extern char** environ;

namespace lucebox::app {
namespace {

// Sections of the file that belong to the host wrapper.
constexpr std::array<std::string_view, 5> wrapper_sections{"image", "runtime", "paths", "host", "autotune"};
constexpr std::size_t most_bytes = 1 << 20;

std::string variable(const Environment& environment, const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? "" : found->second;
}

Error no_place() { return {ErrorKind::usage, "there is no place for a configuration file", "set HOME or LUCEBOX_CONFIG"}; }

// A key as the user wrote it: "port", "server.port", "dflash.max_ctx".
Result<const OptionSpec*> option_of_key(std::string key) {
    std::replace(key.begin(), key.end(), '-', '_');
    const auto table = option_table();
    if (const Alias* alias = alias_of_key(key)) {
        const OptionSpec* option = option_of(*alias, table);
        if (option != nullptr && alias->form != "{}") {
            return Error{ErrorKind::usage, fmt::format("{} is said in another way here", key), fmt::format("lucebox config set {}={}", file_key(*option), value_of(*alias, "NUMBER"))};
        }
        if (option != nullptr) return option;
        return Error{ErrorKind::unsupported, fmt::format("{} ({}) has no effect in this build", key, alias->meaning), "`lucebox config` lists every key"};
    }
    std::vector<std::string> keys;
    for (const OptionSpec& spec : table) {
        keys.push_back(file_key(spec));
        if (keys.back() == key || keys.back().substr(keys.back().find('.') + 1) == key) return &spec;
    }
    const std::string section = key.substr(0, key.find('.'));
    if (std::ranges::find(wrapper_sections, section) != wrapper_sections.end()) {
        return Error{ErrorKind::usage, fmt::format("{} is a setting of the host wrapper", key), "set it on the host: lucebox config set"};
    }
    // "prot" should find server.port.
    std::vector<std::string_view> known(keys.begin(), keys.end());
    for (const std::string& full : keys) known.push_back(std::string_view(full).substr(full.find('.') + 1));
    const auto near = nearest_name(key, known);
    return Error{ErrorKind::usage, fmt::format("there is no key {}", key), near.empty() ? "`lucebox config` lists every key" : fmt::format("did you mean {}?", near)};
}

// The two files have the same permissions: either may hold a key.
Status write(const std::filesystem::path& path, const std::string& text, const std::filesystem::path& like = {}) {
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    return write_file_atomically(path, std::as_bytes(std::span(text)), like);
}

std::filesystem::path previous_of(const std::filesystem::path& path) { return path.string() + ".previous"; }

// `text` with the option set to a value that was checked, or without it.
Result<std::string> with(const std::string& text, const OptionSpec& spec, const std::optional<std::string>& literal) {
    const std::string key = file_key(spec);
    return edit_toml(text, spec.section, std::string_view(key).substr(key.find('.') + 1), literal);
}

Status set_values(std::span<const std::string> pairs, const std::filesystem::path& path, const Environment& environment) {
    if (pairs.empty()) return Error{ErrorKind::usage, "config set needs KEY=VALUE", "lucebox config set port=9000"};
    LUCEBOX_TRY(std::string changed, config_text(path));
    std::string told;
    for (const std::string& pair : pairs) {
        const std::size_t equals = pair.find('=');
        if (equals == std::string::npos) return Error{ErrorKind::usage, fmt::format("config set needs KEY=VALUE, not {}", pair), fmt::format("lucebox config set {}=...", pair)};
        LUCEBOX_TRY(const OptionSpec* spec, option_of_key(pair.substr(0, equals)));
        const std::string text = pair.substr(equals + 1);
        if (text.empty()) return Error{ErrorKind::usage, fmt::format("{} has no value", pair), fmt::format("to go back to the default: lucebox config unset {}", pair.substr(0, equals))};
        LUCEBOX_TRY(const Options::Value value, parse_option({spec, text, OptionOrigin::flag, pair.substr(0, equals)}, environment));
        LUCEBOX_TRY(changed, with(changed, *spec, config_literal(value, text)));
        told += fmt::format("{} = {} ({})\n", file_key(*spec), spec->secret ? "********" : text, shown_path(path, environment));
    }
    LUCEBOX_CHECK(write(path, changed));
    fmt::print("{}", told);
    return Ok{};
}

Status unset_values(std::span<const std::string> keys, const std::filesystem::path& path) {
    if (keys.empty()) return Error{ErrorKind::usage, "config unset needs a key", "lucebox config unset port"};
    LUCEBOX_TRY(const std::string text, config_text(path));
    std::string changed = text, told;
    for (const std::string& key : keys) {
        LUCEBOX_TRY(const OptionSpec* spec, option_of_key(key));
        LUCEBOX_TRY(changed, with(changed, *spec, std::nullopt));
        told += fmt::format("{} is the default again\n", file_key(*spec));
    }
    if (changed != text) LUCEBOX_CHECK(write(path, changed));
    fmt::print("{}", told);
    return Ok{};
}

Status reset(const std::filesystem::path& path) {
    std::error_code error;
    std::filesystem::rename(path, previous_of(path), error);
    if (error == std::errc::no_such_file_or_directory) fmt::print("there is no configuration file: defaults are used\n");
    else if (error) return Error{ErrorKind::io, fmt::format("{} cannot be moved: {}", path.string(), error.message())};
    else fmt::print("defaults are used; the old file is {}; `lucebox config restore` brings it back\n", shown_path(previous_of(path)));
    return Ok{};
}

// What was there before the last sweep, reset or restore, and the other way round.
Status restore(const std::filesystem::path& path) {
    const auto previous = previous_of(path);
    std::error_code error;
    if (!std::filesystem::exists(previous, error)) return Error{ErrorKind::not_found, "there is no earlier configuration", "a sweep and `config reset` leave one"};
    LUCEBOX_TRY(const std::string now, config_text(path));
    LUCEBOX_TRY(const std::string before, read_text_file(previous, most_bytes));
    LUCEBOX_CHECK(write(path, before, previous));
    LUCEBOX_CHECK(write(previous, now));
    fmt::print("{} is what it was before; once more brings back what it was now\n", shown_path(path));
    return Ok{};
}

Status edit(const std::filesystem::path& path, const Environment& environment) {
    std::string editor = variable(environment, "VISUAL");
    if (editor.empty()) editor = variable(environment, "EDITOR");
    if (editor.empty()) editor = "vi";
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    // Through the shell, because the variable may hold options; the path is an argument of its own.
    std::string command = editor + " \"$1\"", file = path.string();
    std::array<char*, 6> words{};
    std::string sh = "sh", c = "-c", name = "editor";
    words = {sh.data(), c.data(), command.data(), name.data(), file.data(), nullptr};
    pid_t child = 0;
    int status = 0;
    if (::posix_spawnp(&child, "sh", nullptr, nullptr, words.data(), environ) != 0 || ::waitpid(child, &status, 0) != child || status != 0) {
        return Error{ErrorKind::io, fmt::format("the editor {} failed", editor), "set EDITOR to one that is installed"};
    }
    std::vector<std::string> warnings;
    LUCEBOX_TRY(const auto settings, config_file_settings(environment, warnings));
    LUCEBOX_TRY(const Options options, Options::resolve(option_table(), settings, environment));
    fmt::print("{} is fine\n", shown_path(path, environment));
    return Ok{};
}

} // namespace

std::string config_literal(const Options::Value& value, const std::string& text) {
    if (const bool* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
    if (std::holds_alternative<std::int64_t>(value) && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || c == '-'; })) return text;
    if (const double* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
    if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
        std::string out;
        for (const std::string& item : *list) out += (out.empty() ? "" : ", ") + toml_string(item);
        return fmt::format("[{}]", out);
    }
    return toml_string(text);
}

Result<std::string> config_text(const std::filesystem::path& path) {
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return std::string();
    return read_text_file(path, most_bytes);
}

Result<std::string> changed_config(std::string text, std::span<const ConfigChange> changes) {
    for (const ConfigChange& change : changes) {
        LUCEBOX_TRY(text, edit_toml(text, change.section, change.key, change.literal));
    }
    return text;
}

Status keep_config(const std::filesystem::path& path, const std::string& before, const std::string& after) {
    LUCEBOX_CHECK(write(previous_of(path), before, path));
    return write(path, after);
}

std::filesystem::path config_path(const Environment& environment) {
    if (const std::string path = variable(environment, "LUCEBOX_CONFIG"); !path.empty()) return path;
    const std::filesystem::path home = variable(environment, "HOME"), xdg = variable(environment, "XDG_CONFIG_HOME"), own = variable(environment, "LUCEBOX_HOME");
    if (!own.empty()) return own / "config.toml";
    std::vector<std::filesystem::path> places;
    if (!xdg.empty()) places.push_back(xdg / "lucebox" / "config.toml");
    else if (!home.empty()) places.push_back(home / ".config" / "lucebox" / "config.toml");
    if (!home.empty()) places.push_back(home / ".lucebox" / "config.toml");
    for (const auto& path : places) {
        std::error_code error;
        if (std::filesystem::exists(path, error)) return path;
    }
    return places.empty() ? std::filesystem::path() : places.front();
}

Result<std::vector<OptionSetting>> config_file_settings(const Environment& environment, std::vector<std::string>& warnings) {
    const std::filesystem::path path = config_path(environment);
    std::error_code error;
    if (std::filesystem::is_symlink(path, error) && !std::filesystem::exists(path, error)) {
        return Error{ErrorKind::not_found, fmt::format("{} is a link that leads nowhere", path.string()), "a container sees the folder alone: keep the file itself there"};
    }
    // A file that was named must be there; the usual places may be empty.
    if (path.empty() || (variable(environment, "LUCEBOX_CONFIG").empty() && !std::filesystem::exists(path, error))) return std::vector<OptionSetting>{};
    ForeignKeys foreign{.sections = wrapper_sections, .aliases = {}, .without_effect = {}};
    for (const Alias& alias : aliases()) {
        if (alias.key.empty()) continue;
        if (const OptionSpec* option = option_of(alias, option_table()); option != nullptr && alias.form == "{}") {
            foreign.aliases.emplace_back(alias.key, option);
        } else {
            foreign.without_effect.push_back(alias.key);
        }
    }
    return options_from_file(option_table(), path, foreign, &warnings);
}

Result<bool> set_config(std::span<const std::pair<std::string, std::string>> pairs, const Environment& environment) {
    const std::filesystem::path path = config_path(environment);
    LUCEBOX_TRY(const std::string text, config_text(path));
    std::string changed = text;
    for (const auto& [name, value] : pairs) {
        LUCEBOX_TRY(const OptionSpec* spec, option_of_key(name));
        LUCEBOX_TRY(const Options::Value parsed, parse_option({spec, value, OptionOrigin::flag, name}, environment));
        LUCEBOX_TRY(changed, with(changed, *spec, config_literal(parsed, value)));
    }
    if (changed == text) return false;
    LUCEBOX_CHECK(keep_config(path, text, changed));
    return true;
}

Status check_config_writable(const Environment& environment) {
    const std::filesystem::path path = config_path(environment);
    if (path.empty()) return no_place();
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    LUCEBOX_TRY(const AtomicFile trial, AtomicFile::create(path)); // it goes with the variable
    return Ok{};
}

bool changes_config(std::span<const std::string> operands) {
    constexpr std::array<std::string_view, 6> actions{"set", "unset", "path", "edit", "reset", "restore"};
    return !operands.empty() && std::ranges::find(actions, operands.front()) != actions.end();
}

Status change_config(std::span<const std::string> operands, const Environment& environment) {
    const std::filesystem::path path = config_path(environment);
    if (path.empty()) return no_place();
    const std::string& action = operands.front();
    const auto rest = operands.subspan(1);
    if (action == "set") return set_values(rest, path, environment);
    if (action == "unset") return unset_values(rest, path);
    if (action == "edit") return edit(path, environment);
    if (action == "reset") return reset(path);
    if (action == "restore") return restore(path);
    fmt::print("{}\n", shown_path(path, environment));
    return Ok{};
}

} // namespace lucebox::app
