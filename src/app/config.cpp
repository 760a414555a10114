// lucebox config: every setting, its value, and where it came from.
#include "app/commands.h"
#include "base/terminal.h"

#include <fmt/color.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lucebox::app {

Status config(const Invocation& invocation) {
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
