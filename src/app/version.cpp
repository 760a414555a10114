// lucebox version: which build this is.
#include "app/commands.h"
#include "base/build_info.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace lucebox::app {
namespace {

// Compiled in, and found here: "problem" is null where a device can be used.
nlohmann::ordered_json devices() {
    auto list = nlohmann::ordered_json::array();
    const auto or_null = [](const std::string& text) { return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text); };
    for (const auto& device : compute::known_devices()) {
        list.push_back({{"kind", device.kind}, {"name", or_null(device.name)}, {"problem", or_null(device.problem)}});
    }
    return list;
}

} // namespace


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
                                          {"devices", devices()}};
        fmt::print("{}\n", json.dump());
        return Ok{};
    }
    fmt::print("lucebox {}\n", build.version);
    if (!build.git_sha.empty()) fmt::print("commit    {}\n", build.git_sha);
    if (!build.image_tag.empty()) fmt::print("image     {}\n", build.image_tag);
    if (!build.build_time.empty()) fmt::print("built     {}\n", build.build_time);
    fmt::print("compiler  {}\n", build.compiler);
    for (const auto& device : compute::known_devices()) {
        fmt::print("device    {}: {}\n", device.kind, device.problem.empty() ? device.name : device.problem);
    }
    return Ok{};
}

} // namespace lucebox::app
