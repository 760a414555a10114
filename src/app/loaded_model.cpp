#include "app/loaded_model.h"

#include "app/chosen_draft.h"
#include "base/log.h"

namespace lucebox::app {

Result<LoadedModel> LoadedModel::load(const Options& options, std::size_t context, std::size_t rows) {
    LUCEBOX_TRY(const auto kv_type, chosen_kv_type(options));
    LUCEBOX_TRY(const auto path, chosen_model(options));
    LUCEBOX_TRY(auto file, gguf::ModelFile::open(path));
    LUCEBOX_TRY(auto device, compute::make_device(device_options(options)));
    LoadedModel model{std::move(file), std::move(device), nullptr, 0};
    model::RunnerOptions runner_options;
    runner_options.context = context;
    runner_options.kv_type = kv_type;
    runner_options.rows = rows > 0 ? rows : model.device->prompt_rows();
    LUCEBOX_TRY(model.runner, model::Runner::load(model.file, *model.device, runner_options));
    LUCEBOX_TRY(model.sequence, model.runner->open());
    return model;
}

Result<LoadedDraft> LoadedDraft::load(const Options& options, const LoadedModel& model) {
    const ChosenDraft chosen = chosen_draft(options, model.file.path());
    LoadedDraft draft;
    if (chosen.path.empty()) return draft;
    const auto open = [&]() -> Status {
        LUCEBOX_TRY(auto file, model::DflashFile::open(chosen.path));
        draft.file = std::make_unique<model::DflashFile>(std::move(file));
        LUCEBOX_TRY(draft.runner, model::DraftRunner::load(*draft.file, *model.device, *model.runner,
                                                              static_cast<std::size_t>(options.integer("draft-head"))));
        return Ok{};
    };
    const Status opened = open();
    if (!opened && !chosen.found) return opened.error();
    if (!opened) log_warning("the draft {} is not used: {}", chosen.path.string(), opened.error().message);
    return draft;
}

Status LoadedModel::feed(std::span<const model::TokenId> tokens, bool want_all) {
    std::vector<model::Row> rows;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        rows.push_back({sequence, tokens[i], static_cast<std::int32_t>(i) - 1, want_all || i + 1 == tokens.size()});
    }
    return runner->step(rows, model::Commit::all);
}

} // namespace lucebox::app
