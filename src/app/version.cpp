// lucebox version: which build this is.
#include "app/commands.h"
#include "base/build_info.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lucebox::app {

Status version(const Invocation& invocation) {
    const BuildInfo& build = build_info();
    const auto or_null = [](std::string_view value) {
        return value.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
    };
    if (invocation.options.boolean("json")) {
        const nlohmann::ordered_json json{{"version", build.version},
                                          {"git_sha", or_null(build.git_sha)},
                                          {"image_tag", or_null(build.image_tag)},
                                          {"build_time", or_null(build.build_time)},
                                          {"compiler", build.compiler},
                                          {"devices", {"cpu"}}};
        fmt::print("{}\n", json.dump());
        return Ok{};
    }
    fmt::print("lucebox {}\n", build.version);
    if (!build.git_sha.empty()) fmt::print("commit    {}\n", build.git_sha);
    if (!build.image_tag.empty()) fmt::print("image     {}\n", build.image_tag);
    if (!build.build_time.empty()) fmt::print("built     {}\n", build.build_time);
    fmt::print("compiler  {}\ndevices   cpu\n", build.compiler);
    return Ok{};
}

} // namespace lucebox::app
