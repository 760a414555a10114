// Names by which settings are known elsewhere: DFLASH_* and LUCE_* variables of earlier images, and [dflash] in config.toml.
//
// An alias of something that this build lacks is understood and has no effect; that is said, once, rather than passed over.
#pragma once

#include "base/options.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::app {

struct Alias {
    std::string_view variable; // behind DFLASH_ or LUCE_: "MAX_CTX"
    std::string_view key;      // in config.toml: "dflash.max_ctx"; empty: none
    std::string_view option;   // of the option table; empty, or not in the table: without effect in this build
    std::string_view meaning;
    std::string_view form = "{}"; // how the value is written for the option: "tree:{}"
};

std::span<const Alias> aliases();

// Settings from DFLASH_* and LUCE_*; of two, LUCE_* wins. Unknown ones are warned about with the nearest name.
std::vector<OptionSetting> options_from_aliases(std::span<const OptionSpec> table, const Environment& environment,
                                                std::vector<std::string>& warnings);

const Alias* alias_of_key(std::string_view key);
std::string value_of(const Alias& alias, std::string_view value); // as the option takes it
const OptionSpec* option_of(const Alias& alias, std::span<const OptionSpec> table); // null: without effect

} // namespace lucebox::app
