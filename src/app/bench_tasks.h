// Prompts of several kinds for measuring speculation: how much of a text can be guessed depends on what it is.
#pragma once

#include <string>
#include <vector>

namespace lucebox::app {

struct BenchTask {
    std::string family, prompt;
    std::size_t max_tokens = 0;
};

// One task of each of twelve families. The same on every machine.
std::vector<BenchTask> bench_tasks();
// A file of that many short lines, to be written again with one variable renamed.
BenchTask rewrite_task(std::size_t lines);

} // namespace lucebox::app
