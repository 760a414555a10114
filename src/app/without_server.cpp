// What a build without the server's libraries says instead: it takes models by path only.
#ifndef LUCEBOX_SERVER
#include "app/commands.h"
#include "app/entry.h"

namespace lucebox::app {

Result<std::filesystem::path> chosen_model(const Options& options, std::function<bool()>) {
    if (options.is_set("model")) return options.path("model");
    return Error{ErrorKind::usage, "no model was given, and this build cannot fetch one", "give --model FILE"};
}

namespace {
Error not_built(const char* command) {
    return {ErrorKind::unsupported, std::string(command) + " is not part of this build",
            "build where Boost, curl and zlib are installed (tools/install-packages.sh)"};
}
} // namespace

Status serve(const Invocation&) { return not_built("serve"); }
Status check_this_machine(const Invocation&) { return Error{ErrorKind::usage, "check needs one file", "lucebox check MODEL.gguf"}; }
Status run(const Invocation&) { return not_built("run"); }
Status models(const Invocation&) { return not_built("models"); }
Status autotune(const Invocation&) { return not_built("autotune"); }
Status smoke(const Invocation&) { return not_built("smoke"); }
Status connect(const Invocation&) { return not_built("connect"); }
Status claude(const Invocation&) { return not_built("claude"); }
Status codex(const Invocation&) { return not_built("codex"); }
Status top(const Invocation&) { return not_built("top"); }
Status healthcheck(const Invocation&) { return not_built("healthcheck"); }
Result<std::vector<std::string>> enter(std::span<const char* const>, std::span<const std::string_view>, const Environment&) { return not_built("entry"); }

} // namespace lucebox::app
#endif
