// The command line: CLI11 splits it, the table says what it means.
#include "base/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/format.h>

namespace lucebox {
namespace {

bool used_by(const OptionSpec& spec, std::string_view command) {
    if (spec.commands.empty()) return true;
    std::string_view rest = spec.commands;
    while (!rest.empty()) {
        const auto end = rest.find(' ');
        if (rest.substr(0, end) == command) return true;
        rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    }
    return false;
}

Error unknown_command(std::string_view given, std::span<const CommandSpec> commands) {
    std::vector<std::string_view> names;
    for (const auto& command : commands)
        names.push_back(command.name);
    const auto near = nearest_name(given, names);
    return {ErrorKind::usage, fmt::format("unknown command {}", given),
            near.empty() ? std::string("`lucebox --help` lists the commands") : fmt::format("did you mean {}?", near)};
}

Error unknown_flag(std::string_view given, std::string_view command, std::span<const OptionSpec> table) {
    const std::string_view name = given.substr(0, given.find('='));
    std::vector<std::string> flags{"--help"};
    for (const auto& spec : table) {
        const std::string flag = fmt::format("--{}", spec.name);
        if (used_by(spec, command))
            flags.push_back(flag);
        else if (flag == name) {
            return {ErrorKind::usage, fmt::format("{} is not an option of `lucebox {}`", name, command),
                    fmt::format("it belongs to: {}", spec.commands)};
        }
    }
    const std::vector<std::string_view> known(flags.begin(), flags.end());
    const auto near = nearest_name(name, known);
    return {ErrorKind::usage, fmt::format("unknown option {}", name),
            near.empty() ? fmt::format("`lucebox {} --help` lists the options", command)
                         : fmt::format("did you mean {}?", near)};
}

std::string shown_flag(const OptionSpec& spec) {
    switch (spec.type) {
    case OptionType::boolean: return fmt::format("--[no-]{}", spec.name);
    case OptionType::choice: return fmt::format("--{} {}", spec.name, spec.range);
    case OptionType::integer:
    case OptionType::number: return fmt::format("--{} N", spec.name);
    case OptionType::path: return fmt::format("--{} PATH", spec.name);
    case OptionType::list: return fmt::format("--{} A,B", spec.name);
    case OptionType::duration: return fmt::format("--{} TIME", spec.name);
    case OptionType::bytes: return fmt::format("--{} SIZE", spec.name);
    case OptionType::text: break;
    }
    return fmt::format("--{} TEXT", spec.name);
}

std::string help_of_options(std::string_view command, std::span<const OptionSpec> table) {
    std::vector<std::string_view> sections;
    for (const auto& spec : table) {
        if (!used_by(spec, command)) continue;
        if (std::find(sections.begin(), sections.end(), spec.section) == sections.end())
            sections.push_back(spec.section);
    }
    std::string text;
    for (const auto section : sections) {
        text += fmt::format("\n{}:\n", section);
        for (const auto& spec : table) {
            if (spec.section != section || !used_by(spec, command)) continue;
            std::string notes;
            if (!spec.range.empty() && spec.type != OptionType::choice) notes += fmt::format(" [{}]", spec.range);
            if (!spec.default_value.empty()) notes += fmt::format(" (default {})", spec.default_value);
            text += fmt::format("  {:<30} {}{}\n", shown_flag(spec), spec.help, notes);
        }
    }
    return text;
}

} // namespace

Result<CommandLine> parse_command_line(std::span<const CommandSpec> commands, std::span<const OptionSpec> table,
                                       std::span<const char* const> arguments) {
    CommandLine line;
    if (arguments.empty()) return line;
    const std::string_view first = arguments[0];
    if (first == "-h" || first == "--help" || first == "help") {
        line.help = true;
        return line;
    }
    if (first == "--version") {
        line.version = true;
        return line;
    }
    const auto command = std::find_if(commands.begin(), commands.end(), [&](const auto& c) { return c.name == first; });
    if (command == commands.end()) return unknown_command(first, commands);
    line.command = command->name;

    CLI::App app;
    app.set_help_flag();
    app.allow_extras();
    CLI::Option* help = app.add_flag("-h,--help");
    std::vector<std::string> operands;
    app.add_option("operands", operands)->expected(0, 1 << 20);
    std::vector<std::pair<const OptionSpec*, CLI::Option*>> added;
    for (const auto& spec : table) {
        if (!used_by(spec, command->name)) continue;
        const std::string flag = fmt::format("--{}", spec.name);
        CLI::Option* option = spec.type == OptionType::boolean
                                  ? app.add_flag(fmt::format("{},!--no-{}", flag, spec.name))
                                  : app.add_option(flag);
        option->multi_option_policy(spec.type == OptionType::list ? CLI::MultiOptionPolicy::TakeAll
                                                                  : CLI::MultiOptionPolicy::TakeLast);
        added.emplace_back(&spec, option);
    }
    try {
        std::vector<std::string> reversed(arguments.rbegin(), arguments.rend() - 1);
        app.parse(reversed);
    } catch (const CLI::ParseError& error) {
        return Error{ErrorKind::usage, error.what(), fmt::format("`lucebox {} --help` explains", line.command)};
    }
    line.help = help->count() != 0;
    for (const auto& extra : app.remaining()) {
        if (extra.starts_with('-') && extra != "--") return unknown_flag(extra, line.command, table);
    }
    if (!line.help && command->operands.empty() && !operands.empty()) {
        return Error{ErrorKind::usage, fmt::format("`lucebox {}` takes no argument \"{}\"", line.command, operands[0])};
    }
    line.operands = std::move(operands);
    for (const auto& [spec, option] : added) {
        if (option->count() == 0) continue;
        const auto values = option->reduced_results();
        line.flags.push_back(
            {spec, fmt::format("{}", fmt::join(values, ",")), OptionOrigin::flag, fmt::format("--{}", spec->name)});
    }
    return line;
}

std::string help_text(std::string_view program, std::string_view command, std::span<const CommandSpec> commands,
                      std::span<const OptionSpec> table) {
    if (command.empty()) {
        std::string text = fmt::format("usage: {} COMMAND [OPTIONS]\n\ncommands:\n", program);
        for (const auto& spec : commands)
            text += fmt::format("  {:<12} {}\n", spec.name, spec.help);
        return text + fmt::format("\n`{} COMMAND --help` lists a command's options.\n", program);
    }
    for (const auto& spec : commands) {
        if (spec.name != command) continue;
        return fmt::format(
            "usage: {} {} [OPTIONS]{}{}\n\n{}\n{}\nEach option can also be set by its environment variable, "
            "as LUCEBOX_PORT for --port,\nor by its key in the configuration file.\n",
            program, spec.name, spec.operands.empty() ? "" : " ", spec.operands, spec.help,
            help_of_options(command, table));
    }
    return {};
}

} // namespace lucebox
