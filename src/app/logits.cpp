// lucebox logits: every position's logits of a token file, for comparing this engine with others.
#include "app/loaded_model.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/terminal.h"

#include <fmt/format.h>

namespace lucebox::app {

Status logits(const Invocation& invocation) {
    const Options& options = invocation.options;
    for (const char* name : {"tokens", "out"}) {
        if (!options.is_set(name)) return Error{ErrorKind::usage, fmt::format("logits needs --{}", name), "see lucebox logits --help"};
    }
    LUCEBOX_TRY(const auto tokens, read_npy_tokens(options.path("tokens")));
    if (tokens.empty()) return Error{ErrorKind::invalid_data, fmt::format("{} holds no tokens", options.path("tokens").string())};
    const auto rows = static_cast<std::size_t>(options.integer("rows-per-step"));
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, tokens.size(), rows));

    LUCEBOX_TRY(AtomicFile out, AtomicFile::create(options.path("out")));
    const std::size_t shape[] = {tokens.size(), model.runner->vocabulary()};
    const std::string header = npy_f32_header(shape);
    LUCEBOX_CHECK(out.write(std::as_bytes(std::span(header))));
    ProgressBar progress("logits", tokens.size() * model.runner->vocabulary() * sizeof(float));
    for (std::size_t begin = 0; begin < tokens.size(); begin += rows) {
        const auto piece = std::span(tokens).subspan(begin, std::min(rows, tokens.size() - begin));
        LUCEBOX_CHECK(model.feed(piece, true));
        for (std::size_t i = 0; i < piece.size(); ++i) LUCEBOX_CHECK(out.write(std::as_bytes(model.runner->logits(i))));
        progress.update((begin + piece.size()) * model.runner->vocabulary() * sizeof(float));
    }
    progress.finish();
    return out.commit();
}

} // namespace lucebox::app
