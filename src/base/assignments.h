// Assignments of a shell-style settings file, NAME=VALUE a line, read and never executed.
//
// Understood are blank lines, comments, a leading `export`, and values as a shell would take them literally: plain words, 'single' and
// "double" quotes, backslashes. Whatever a shell would compute (variables, commands, several words, patterns) is an error with its line.
// Pure functions.
#pragma once

#include "base/result.h"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox {

struct Assignment {
    std::size_t line = 0; // from 1
    std::string name, value;
};

// In the file's order; a name may occur more than once (in a shell, the last one counts). `where` is the file's name, for errors.
Result<std::vector<Assignment>> parse_assignments(std::string_view text, std::string_view where);

} // namespace lucebox
