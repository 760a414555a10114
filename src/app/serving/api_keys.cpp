#include "app/serving/api_keys.h"

#include "base/file.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::app {
namespace {

constexpr std::size_t most_api_key_bytes = 1 << 20;

} // namespace

Result<std::vector<std::string>> api_keys(const Options& options) {
    std::vector<std::string> keys = options.list("api-keys");
    if (!options.is_set("api-key-file")) return keys;
    LUCEBOX_TRY(const std::string text, read_text_file(options.path("api-key-file"), most_api_key_bytes));
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
        if (!line.empty() && line.front() != '#') keys.push_back(std::move(line));
        begin = end + 1;
    }
    if (keys.empty()) {
        return Error{ErrorKind::usage, fmt::format("{} holds no key", options.path("api-key-file").string()), "put one key on a line"};
    }
    return keys;
}

} // namespace lucebox::app
