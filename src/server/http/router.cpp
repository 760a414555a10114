#include "server/http/router.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace lucebox::server {
namespace {

std::vector<std::string_view> split_path(std::string_view path) {
    std::vector<std::string_view> segments;
    path.remove_prefix(std::min<std::size_t>(1, path.size()));
    for (;;) {
        const auto slash = path.find('/');
        segments.push_back(path.substr(0, slash));
        if (slash == std::string_view::npos) return segments;
        path.remove_prefix(slash + 1);
    }
}

bool is_parameter(std::string_view segment) {
    return segment.starts_with('{') && segment.ends_with('}');
}
bool takes_rest(std::string_view segment) {
    return is_parameter(segment) && segment.ends_with("*}");
}

[[noreturn]] void bad_pattern(std::string_view pattern) {
    std::fprintf(stderr, "bug: bad route %.*s\n", static_cast<int>(pattern.size()), pattern.data());
    std::abort();
}

} // namespace

void Router::add(std::string_view method, std::string_view pattern, Handler handler, RouteOptions options) {
    if (!pattern.starts_with('/') || !handler) bad_pattern(pattern);
    const auto parts = split_path(pattern);
    Route route{std::string(method), {parts.begin(), parts.end()}, std::move(handler), options};
    for (const auto& other : routes_) {
        if (other.method == route.method && other.segments == route.segments) bad_pattern(pattern);
    }
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
        if (takes_rest(parts[i])) bad_pattern(pattern);
    }
    // Literals sort before names, names before a rest, so that the first match is the most specific.
    const auto rank = [](const Route& r) {
        std::string key;
        for (const auto& segment : r.segments)
            key += takes_rest(segment) ? '2' : is_parameter(segment) ? '1' : '0';
        return key;
    };
    const auto place = std::upper_bound(routes_.begin(), routes_.end(), route,
                                        [&](const Route& a, const Route& b) { return rank(a) < rank(b); });
    routes_.insert(place, std::move(route));
}

bool Router::matches(const Route& route, const std::vector<std::string_view>& segments,
                     std::vector<std::pair<std::string, std::string>>* parameters) {
    for (std::size_t i = 0; i < route.segments.size(); ++i) {
        const std::string_view pattern = route.segments[i];
        if (i >= segments.size()) return false;
        std::string_view given = segments[i];
        if (takes_rest(pattern)) {
            const auto& last = segments.back();
            given = {given.data(), static_cast<std::size_t>(last.data() + last.size() - given.data())};
        }
        const auto decoded = percent_decoded(given);
        if (!decoded) return false;
        if (!is_parameter(pattern)) {
            if (*decoded != pattern) return false;
            continue;
        }
        if (decoded->empty()) return false;
        const std::size_t extra = takes_rest(pattern) ? 3 : 2;
        if (parameters != nullptr) parameters->emplace_back(pattern.substr(1, pattern.size() - extra), *decoded);
        if (takes_rest(pattern)) return true;
    }
    return segments.size() == route.segments.size();
}

Router::Match Router::find(std::string_view method, std::string_view path) const {
    Match match;
    const auto segments = split_path(path);
    const auto allow = [&](std::string_view name) {
        if (match.allowed.find(name) == std::string::npos)
            match.allowed += (match.allowed.empty() ? "" : ", ") + std::string(name);
    };
    for (const auto& route : routes_) {
        std::vector<std::pair<std::string, std::string>> parameters;
        if (!matches(route, segments, &parameters)) continue;
        allow(route.method);
        if (route.method == "GET") allow("HEAD");
        const bool serves = route.method == method || (method == "HEAD" && route.method == "GET");
        if (!serves || match.handler != nullptr) continue;
        match.handler = &route.handler;
        match.options = route.options;
        match.parameters = std::move(parameters);
    }
    if (!match.allowed.empty()) allow("OPTIONS");
    return match;
}

} // namespace lucebox::server
