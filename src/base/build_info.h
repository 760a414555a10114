// Which build this is. Values that are not known are empty: a server says null, never a guess.
#pragma once

#include <string_view>

namespace lucebox {

struct BuildInfo {
    std::string_view version;    // "0.1.0"
    std::string_view git_sha;    // 40 hex digits; "-dirty" behind it if the tree was changed
    std::string_view image_tag;  // of the container image it was built for
    std::string_view build_time; // UTC, ISO 8601
    std::string_view compiler;   // "GCC 12.2.0"
};

const BuildInfo& build_info();

} // namespace lucebox
