// The configuration file of the program: where it is, what it says, and how one value of it is changed.
//
// The host wrapper keeps its own settings in the same file, in sections that are left alone here.
#pragma once

#include "base/options.h"
#include "base/result.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace lucebox::app {

// LUCEBOX_CONFIG; LUCEBOX_HOME/config.toml; else the first that is there of lucebox/config.toml in the user's configuration folder
// and .lucebox/config.toml in his home, where the host wrapper keeps it. None there: the first of them. Empty without a home.
std::filesystem::path config_path(const Environment& environment);

Result<std::vector<OptionSetting>> config_file_settings(const Environment& environment, std::vector<std::string>& warnings);

// `config set|unset|path|edit|reset|restore`, which must work while the file is broken. The first operand is the action.
bool changes_config(std::span<const std::string> operands);
Status change_config(std::span<const std::string> operands, const Environment& environment);

// Sets several options at once, silently: all of them are in the file afterwards, or it is as it was. What was there is kept for
// `config restore`. False: the file said so already.
Result<bool> set_config(std::span<const std::pair<std::string, std::string>> pairs, const Environment& environment);

// One key of the file as it shall be.
struct ConfigChange {
    std::string section, key;
    std::optional<std::string> literal; // as TOML has it; none: the key goes
};
std::string config_literal(const Options::Value& value, const std::string& text); // of a value that was read from `text`

Result<std::string> config_text(const std::filesystem::path& path); // empty where there is no file
Result<std::string> changed_config(std::string text, std::span<const ConfigChange> changes);
// Writes `after` where `before` stood, at once, and keeps `before` for `config restore`.
Status keep_config(const std::filesystem::path& path, const std::string& before, const std::string& after);

// Whether the file could be changed, before an hour is spent on finding out how.
Status check_config_writable(const Environment& environment);

} // namespace lucebox::app
