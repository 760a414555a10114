#include "decode/stop_strings.h"

#include <algorithm>
#include <utility>

namespace lucebox::decode {

namespace {

// The longest suffix of `text` that is a proper prefix of `stop`.
std::size_t partial_match(std::string_view text, std::string_view stop) {
    for (std::size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length)
        if (text.ends_with(stop.substr(0, length))) return length;
    return 0;
}

} // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
    std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

StopStrings::Outcome StopStrings::push(std::string_view text) {
    held_ += text;
    // The match that is complete first wins, and of several that end together the longest: the outcome is then the same
    // however the text was cut into pieces.
    std::size_t begin = 0, end = std::string::npos;
    const std::string* matched = nullptr;
    for (const std::string& stop : stops_) {
        const std::size_t at = held_.find(stop);
        if (at == std::string::npos) continue;
        if (matched && (at + stop.size() > end || (at + stop.size() == end && at >= begin))) continue;
        begin = at;
        end = at + stop.size();
        matched = &stop;
    }
    if (matched) {
        Outcome outcome{held_.substr(0, begin), *matched};
        held_.clear();
        return outcome;
    }
    std::size_t keep = 0;
    for (const std::string& stop : stops_)
        keep = std::max(keep, partial_match(held_, stop));
    const std::size_t shown = held_.size() - keep;
    Outcome outcome{held_.substr(0, shown), std::nullopt};
    held_.erase(0, shown);
    return outcome;
}

std::string StopStrings::finish() {
    return std::exchange(held_, {});
}

} // namespace lucebox::decode
