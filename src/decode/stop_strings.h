// Finds stop strings in a stream of text pieces, across token borders.
//
// Text that could still become a stop string is held back; a found stop string, and all after it, is never shown. Of
// several that match, the one that is complete first counts, then the longest. Used by one thread at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::decode {

class StopStrings {
public:
    explicit StopStrings(std::vector<std::string> stops = {}); // empty strings are ignored

    struct Outcome {
        std::string text;                   // may be shown now
        std::optional<std::string> matched; // the stop string that ended the text
    };
    Outcome push(std::string_view text);
    std::string finish(); // what was held back, when the text ends otherwise

private:
    std::vector<std::string> stops_;
    std::string held_;
};

} // namespace lucebox::decode
