// The program: reads the command line, environment and configuration, runs one command, prints its error.
#include "app/aliases.h"
#include "app/commands.h"
#include "app/config_file.h"
#include "app/config_import.h"
#include "app/draft.h"
#include "app/entry.h"
#include "base/log.h"
#include "base/terminal.h"

#include <fmt/color.h>
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace lucebox::app {
namespace {

struct Command {
    std::string_view name;
    Status (*run)(const Invocation&);
};

constexpr std::array implementations{
    Command{"serve", serve},       Command{"run", run},           Command{"check", check},   Command{"models", models},
    Command{"generate", generate}, Command{"logits", logits},     Command{"tokenize", tokenize},
    Command{"draft", draft},       Command{"quantize", quantize}, Command{"bench", bench},       Command{"config", config}, Command{"version", version},
    Command{"autotune", autotune}, Command{"smoke", smoke},       Command{"healthcheck", healthcheck},
    Command{"connect", connect},   Command{"claude", claude},     Command{"codex", codex},   Command{"top", top},
};

LogLevel level_of(const std::string& name) {
    if (name == "debug") return LogLevel::debug;
    if (name == "warning") return LogLevel::warning;
    if (name == "error") return LogLevel::error;
    if (name == "off") return LogLevel::off;
    return LogLevel::info;
}

Status dispatch(std::span<const char* const> arguments) {
    LUCEBOX_TRY(CommandLine line, parse_command_line(command_table(), option_table(), arguments));
    if (line.version) line.command = "version";
    if (line.help || line.command.empty()) {
        fmt::print("{}", help_text("lucebox", line.command, command_table(), option_table()));
        return Ok{};
    }
    const Environment environment = process_environment();
    if (line.command == "config" && !line.operands.empty() && line.operands.front() == "import") {
        // Without the file's own settings: it may be what has to be repaired.
        LUCEBOX_TRY(const Options flags, Options::resolve(option_table(), line.flags, environment));
        return import_config(std::span(line.operands).subspan(1), {flags.boolean("dry-run"), flags.boolean("overwrite"), flags.boolean("json")}, environment);
    }
    if (line.command == "config" && changes_config(line.operands)) return change_config(line.operands, environment);
    std::vector<std::string> warnings;
    LUCEBOX_TRY(std::vector<OptionSetting> settings, config_file_settings(environment, warnings));
    const auto from_aliases = options_from_aliases(option_table(), environment, warnings);
    settings.insert(settings.end(), from_aliases.begin(), from_aliases.end());
    const auto from_environment = options_from_environment(option_table(), environment, warnings);
    settings.insert(settings.end(), from_environment.begin(), from_environment.end());
    settings.insert(settings.end(), line.flags.begin(), line.flags.end());
    LUCEBOX_TRY(Options options, Options::resolve(option_table(), settings, environment));
    configure_log(level_of(options.text("log-level")), options.text("log-format") == "json" ? LogFormat::json : LogFormat::text);
    for (const std::string& warning : warnings) log_warning("{}", warning);
    const Invocation invocation{std::move(options), std::move(line.operands)};
    for (const Command& command : implementations) {
        if (command.name == line.command) return command.run(invocation);
    }
    return Error{ErrorKind::internal, fmt::format("command {} has no implementation", line.command)};
}

// EX_CONFIG: a container that was started in a way that cannot work; starting it again will not help.
constexpr int exit_configuration = 78;

int report(const Error& error) {
    const bool colours = wants_colours(2);
    const auto title = colours ? fmt::emphasis::bold | fmt::fg(fmt::terminal_color::red) : fmt::text_style{};
    fmt::print(stderr, title, "error:");
    fmt::print(stderr, " {}\n", error.message);
    if (!error.hint.empty()) fmt::print(stderr, "  {}\n", error.hint);
    return exit_code(error.kind);
}

} // namespace
} // namespace lucebox::app

int main(int count, char** values) {
    using namespace lucebox;
    std::span<const char* const> arguments(values + 1, static_cast<std::size_t>(count > 0 ? count - 1 : 0));
    Result<std::vector<std::string>> entered{std::vector<std::string>{}};
    std::vector<const char*> words;
    if (!arguments.empty() && std::string_view(arguments.front()) == "entry") {
        std::vector<std::string_view> commands;
        for (const CommandSpec& command : app::command_table()) commands.push_back(command.name);
        entered = app::enter(arguments.subspan(1), commands, process_environment());
        if (!entered) {
            const int code = app::report(entered.error());
            return entered.error().kind == ErrorKind::unavailable ? app::exit_configuration : code;
        }
        for (const std::string& word : *entered) words.push_back(word.c_str());
        arguments = words;
    }
    const Status status = app::dispatch(arguments);
    if (!status) return app::report(status.error());
    return std::fflush(stdout) == 0 ? EXIT_SUCCESS : exit_code(ErrorKind::io);
}
