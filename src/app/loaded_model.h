// A model with its device and runner, for commands that run steps by themselves.
#pragma once

#include "app/commands.h"
#include "gguf/model_file.h"
#include "model/draft_runner.h"
#include "model/runner.h"

namespace lucebox::app {

struct LoadedModel {
    gguf::ModelFile file;
    std::unique_ptr<compute::Device> device;
    std::unique_ptr<model::Runner> runner;
    model::SequenceId sequence = 0;

    // One sequence of `context` tokens, in steps of up to `rows` rows; 0: as many as suit the device.
    static Result<LoadedModel> load(const Options& options, std::size_t context, std::size_t rows);

    // Feeds tokens as a path, in steps of at most `rows`; `want_all`: logits of every token, else of the last.
    Status feed(std::span<const model::TokenId> tokens, bool want_all);
};

// The draft that the options name, or that is found for the model; null: none.
struct LoadedDraft {
    std::unique_ptr<model::DflashFile> file;
    std::unique_ptr<model::DraftRunner> runner;

    static Result<LoadedDraft> load(const Options& options, const LoadedModel& model);
};

} // namespace lucebox::app
