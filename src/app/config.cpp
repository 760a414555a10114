// lucebox config [list|get KEY...]: every setting, its value, and where it came from. The actions that change the file are
// in config_file.cpp.
#include "app/commands.h"
#include "base/terminal.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace lucebox::app {

namespace {

Status get(const Invocation& invocation, std::span<const std::string> keys) {
    for (std::string key : keys) {
        std::replace(key.begin(), key.end(), '-', '_');
        bool found = false;
        for (const Options::Entry& entry : invocation.options.entries()) {
            const std::string full = file_key(*entry.spec);
            if (full != key && full.substr(full.find('.') + 1) != key) continue;
            fmt::print("{} ({})\n", entry.shown(), entry.where);
            found = true;
            break;
        }
        if (!found) return Error{ErrorKind::usage, fmt::format("there is no key {}", key), "`lucebox config` lists every key"};
    }
    return Ok{};
}

} // namespace

Status config(const Invocation& invocation) {
    const std::span<const std::string> operands = invocation.operands;
    if (operands.size() > 1 && operands.front() == "get") return get(invocation, operands.subspan(1));
    if (!operands.empty() && operands.front() != "list" && operands.front() != "get") {
        return Error{ErrorKind::usage, fmt::format("config has no action {}", operands.front()), "list, get, set, unset, import, path, edit, reset and restore are known"};
    }
    if (invocation.options.boolean("json")) {
        nlohmann::ordered_json json = nlohmann::ordered_json::object();
        for (const Options::Entry& entry : invocation.options.entries()) {
            json[std::string(entry.spec->name)] = {{"value", entry.shown()}, {"origin", name_of(entry.origin)}, {"where", entry.where}};
        }
        fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
        return Ok{};
    }
    const auto title = wants_colours(1) ? fmt::text_style(fmt::emphasis::bold) : fmt::text_style{};
    std::string_view section;
    for (const Options::Entry& entry : invocation.options.entries()) {
        if (entry.spec->section != section) {
            section = entry.spec->section;
            fmt::print(title, "[{}]\n", section);
        }
        const bool is_default = entry.origin == OptionOrigin::default_value;
        fmt::print("  {:<20} {:<24} {}\n", entry.spec->name, entry.shown(), is_default ? "" : entry.where);
    }
    return Ok{};
}

} // namespace lucebox::app
