// The subcommands of the program. Each returns its error; main() prints it and turns it into an exit code.
#pragma once

#include "base/options.h"
#include "base/result.h"
#include "compute/devices.h"
#include "engine/engine.h"

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace lucebox::app {

struct Invocation {
    Options options;
    std::vector<std::string> operands;
};

std::span<const CommandSpec> command_table();
std::span<const OptionSpec> option_table();

Status serve(const Invocation& invocation);
Status run(const Invocation& invocation);
Status check(const Invocation& invocation);
Status check_this_machine(const Invocation& invocation); // what `check` does without a file
Status logits(const Invocation& invocation);
Status generate(const Invocation& invocation);
Status tokenize(const Invocation& invocation);
Status quantize(const Invocation& invocation);
Status bench(const Invocation& invocation);
Status models(const Invocation& invocation);
Status config(const Invocation& invocation);
Status version(const Invocation& invocation);
Status autotune(const Invocation& invocation);
Status smoke(const Invocation& invocation);
Status connect(const Invocation& invocation);
Status claude(const Invocation& invocation);
Status codex(const Invocation& invocation);
Status top(const Invocation& invocation);
Status healthcheck(const Invocation& invocation);

// What several commands take from their options.
// --model, or the default one, fetched if need be; a fetch stops soon after `keep_going` says false.
Result<std::filesystem::path> chosen_model(const Options& options, std::function<bool()> keep_going = {});
compute::DeviceOptions device_options(const Options& options);
// --cache-type-k and -v; none: auto. One alone stands for both. A type that this build lacks becomes the next larger one, with
// a warning: settings of other builds go on working.
Result<std::optional<compute::DType>> chosen_kv_type(const Options& options);
Result<decode::SamplingParams> sampling_params(const Options& options, float default_temperature);
Result<engine::Options> engine_options(const Options& options, std::function<bool()> keep_going = {});

} // namespace lucebox::app
