// One table of options gives the flags, the environment variables, the configuration file's keys and the help text.
//
// A row named "max-tokens" in section "limits" is the flag --max-tokens, the variable LUCEBOX_MAX_TOKENS and the key
// max_tokens in [limits] of the file. A flag wins over the environment, the environment over the file, the file over
// the default. Each effective value remembers where it came from, and an error names that place. Tables are constant
// data that outlive every Options made from them. Options is immutable: any thread may read it. This is the one place
// of the program that reads the process environment.
#pragma once

#include "base/result.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace lucebox {

enum class OptionType {
    boolean,  // true/false, yes/no, on/off, 1/0; as a flag also bare --name and --no-name
    integer,  // decimal, signed 64 bit
    number,   // finite double
    text,     // anything
    list,     // texts separated by commas, a TOML array, or the flag given several times
    path,     // a leading ~/ becomes the home directory
    choice,   // one of `range`, "auto|on|off"
    duration, // 250ms, 10s, 5m, 2h; without a unit: seconds
    bytes,    // 512, 16K, 32M, 4G: powers of 1024
};

struct OptionSpec {
    std::string_view name; // lower case, words joined by dashes
    OptionType type = OptionType::text;
    std::string_view section;       // one word: the TOML table, and the heading in --help
    std::string_view default_value; // as a user would write it; empty: no value unless somebody sets one
    std::string_view range;         // figures: "1..65535", either end may be missing; choice: "auto|on|off"
    std::string_view commands;      // "serve run": the commands that take it; empty: every command
    std::string_view help;          // one sentence
    bool secret = false;            // never printed
};

enum class OptionOrigin { default_value, file, environment, flag };
std::string_view name_of(OptionOrigin origin); // "default", "file", "environment", "flag"

// What one source says about one option, not yet checked against its type.
struct OptionSetting {
    const OptionSpec* spec = nullptr;
    std::string text;
    OptionOrigin origin = OptionOrigin::default_value;
    std::string where; // "--port", "LUCEBOX_PORT", "/etc/lucebox.toml:12"
};

using Environment = std::map<std::string, std::string>;
Environment process_environment();

std::string variable_name(const OptionSpec& spec); // LUCEBOX_MAX_TOKENS
std::string file_key(const OptionSpec& spec);      // limits.max_tokens

// Settings from LUCEBOX_* variables. Empty ones count as absent, and so are those that say where the configuration is. A variable that is no option but spelled much like one
// adds a sentence to `warnings`; others are left alone, because the container and the host wrapper have their own.
std::vector<OptionSetting> options_from_environment(std::span<const OptionSpec> table, const Environment& environment,
                                                    std::vector<std::string>& warnings);

// Keys of a file that are no options by their own name.
struct ForeignKeys {
    std::span<const std::string_view> sections = {};                             // somebody else's: left alone
    std::vector<std::pair<std::string_view, const OptionSpec*>> aliases = {};    // "old.name" of an option
    std::vector<std::string_view> without_effect = {};                           // known; said to have none
};

// Settings from a TOML file. Keys that nobody knows are errors that name the line and the nearest known key.
Result<std::vector<OptionSetting>> options_from_file(std::span<const OptionSpec> table, const std::filesystem::path& path,
                                                     const ForeignKeys& foreign = {}, std::vector<std::string>* warnings = nullptr);

struct CommandSpec {
    std::string_view name;
    std::string_view operands; // shown in the usage line, "FILE...", and required to be empty when this is
    std::string_view help;     // one sentence
};

struct CommandLine {
    std::string command;               // empty: none was given
    std::vector<std::string> operands; // what follows the command and is no flag
    std::vector<OptionSetting> flags;
    bool help = false;    // -h or --help
    bool version = false; // --version
};

Result<CommandLine> parse_command_line(std::span<const CommandSpec> commands, std::span<const OptionSpec> table,
                                       std::span<const char* const> arguments); // without the program's own name

// The text behind --help: all commands when `command` is empty, else that command's options by section.
std::string help_text(std::string_view program, std::string_view command, std::span<const CommandSpec> commands,
                      std::span<const OptionSpec> table);

// The name in `known` that a person most likely meant; empty when none is close.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> known);

class Options {
public:
    using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::string>,
                               std::chrono::milliseconds>; // bytes and integers are both int64

    struct Entry {
        const OptionSpec* spec = nullptr;
        std::string text; // as its source wrote it
        Value value;
        OptionOrigin origin = OptionOrigin::default_value;
        std::string where;

        std::string shown() const; // `text`, or stars for a secret
    };

    // The effective values. Only those are checked, so that a flag can repair a broken variable.
    static Result<Options> resolve(std::span<const OptionSpec> table, std::span<const OptionSetting> settings,
                                   const Environment& environment = {}); // for HOME in paths

    // Asking for a name that the table lacks, or by the wrong type, is our own bug and ends the program.
    // Values that nobody set and that have no default read as false, 0, "", {} or 0 ms: ask is_set() first.
    bool is_set(std::string_view name) const;
    bool boolean(std::string_view name) const;
    std::int64_t integer(std::string_view name) const; // also bytes
    double number(std::string_view name) const;
    const std::string& text(std::string_view name) const; // also choice and path
    std::filesystem::path path(std::string_view name) const;
    const std::vector<std::string>& list(std::string_view name) const;
    std::chrono::milliseconds duration(std::string_view name) const;

    const Entry& entry(std::string_view name) const;
    std::span<const Entry> entries() const { return entries_; } // in the table's order

private:
    std::vector<Entry> entries_;
};

// Checks `setting` against its option's type and range, as resolve() does; for `config set`.
Result<Options::Value> parse_option(const OptionSetting& setting, const Environment& environment = {});

} // namespace lucebox
