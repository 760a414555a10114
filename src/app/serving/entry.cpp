#include "app/entry.h"

#include "base/file.h"
#include "base/log.h"
#include "compute/devices.h"
#include "hub/gpus.h"
#include "hub/host_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <unistd.h>

namespace lucebox::app {
namespace {

std::string variable(const Environment& environment, const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? "" : found->second;
}

// --device X or --device=X among the server's words, else the variable.
std::string wished_device(const std::vector<std::string>& words, const Environment& environment) {
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--device" && i + 1 < words.size()) return words[i + 1];
        if (words[i].starts_with("--device=")) return words[i].substr(9);
    }
    return variable(environment, "LUCEBOX_DEVICE");
}

// Most who come here left out a word, or slipped.
Error not_executable(const std::string& name, int error, std::span<const std::string_view> commands) {
    std::string hint = "without a word the server starts; `serve`, `shell` and `lucebox COMMAND` are known";
    constexpr std::array<std::string_view, 3> own{"serve", "shell", "lucebox"};
    if (error == ENOENT && std::ranges::find(commands, name) != commands.end()) hint = fmt::format("a command of the program is written with its name: lucebox {}", name);
    else if (const auto near = nearest_name(name, own); error == ENOENT && !near.empty()) hint = fmt::format("did you mean {}?", near);
    return {error == ENOENT ? ErrorKind::not_found : ErrorKind::io, fmt::format("cannot execute {}: {}", name, std::strerror(error)), std::move(hint)};
}

// Facts for /props.host. A container that cannot write them serves all the same.
void leave_host_facts(const Environment& environment) {
    const std::string facts = hub::host_facts_json(environment, hub::utc_now());
    const auto path = hub::host_info_path(environment);
    const auto written = write_file_atomically(path, std::as_bytes(std::span(facts)));
    if (!written) log_warning("the facts of this machine could not be left for /props: {}", written.error().message);
}

} // namespace

EntryPlan plan_entry(std::span<const char* const> words) {
    EntryPlan plan;
    plan.words.assign(words.begin(), words.end());
    if (plan.words.empty() || plan.words.front().starts_with('-')) {
        plan.words.insert(plan.words.begin(), "serve");
        plan.serve = true;
    } else if (plan.words.front() == "serve") {
        plan.serve = true;
    } else if (plan.words.front() == "shell") {
        plan.words.front() = "/bin/sh";
    }
    return plan;
}

Status check_gpu_given(const EntryMachine& machine) {
    if (!machine.gpu_build || machine.gpu_visible || machine.device == "cpu") return Ok{};
    return Error{ErrorKind::unavailable, "no GPU was given to this container",
                 "start it with --gpus all; the host needs a driver and the NVIDIA Container Toolkit (lucebox check tells)\n"
                 "  to compute on the CPU instead, slowly: -e LUCEBOX_DEVICE=cpu"};
}

Result<std::vector<std::string>> enter(std::span<const char* const> words, std::span<const std::string_view> commands, const Environment& environment) {
    EntryPlan plan = plan_entry(words);
    if (plan.serve) {
        const bool help = std::ranges::any_of(plan.words, [](const auto& word) { return word == "--help" || word == "-h" || word == "--version"; });
        if (help) return plan.words;
        LUCEBOX_CHECK(check_gpu_given({compute::compiled_for_cuda(), hub::has_gpu_device_files(), wished_device(plan.words, environment)}));
        leave_host_facts(environment);
        // As the first process it inherits orphans (of a health check that was cut off, say): let the kernel reap them.
        if (::getpid() == 1) std::signal(SIGCHLD, SIG_IGN);
        return plan.words;
    }
    std::vector<char*> arguments;
    for (std::string& word : plan.words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    return not_executable(plan.words.front(), errno, commands);
}

} // namespace lucebox::app
