// lucebox draft: converts a published draft, or writes what it computes, for comparing this engine with others.
#include "app/draft.h"

#include "app/loaded_model.h"
#include "base/file.h"
#include "base/npy.h"
#include "base/terminal.h"
#include "model/dflash_convert.h"
#include "model/draft_runner.h"

#include <fmt/format.h>

#include <numeric>

namespace lucebox::app {
namespace {

constexpr std::size_t rows_per_step = 256;

Status convert(const Invocation& invocation) {
    if (invocation.operands.size() != 3) {
        return Error{ErrorKind::usage, "draft convert needs an input and an output file",
                     "lucebox draft convert --type Q8_0 FOLDER draft.gguf"};
    }
    const std::string type = invocation.options.is_set("type") ? invocation.options.text("type") : "Q8_0";
    const auto parsed = gguf::tensor_type_from_name(type);
    if (!parsed) return Error{ErrorKind::usage, fmt::format("'{}' is no tensor type", type), "Q8_0, Q4_K or F16, for example"};
    LUCEBOX_TRY(const auto source, model::DflashFile::open(invocation.operands[1]));
    const std::filesystem::path target = invocation.operands[2];
    LUCEBOX_CHECK(model::convert_dflash(source, target, *parsed));
    std::error_code error;
    fmt::print("{}: {} ({} before)\n", target.string(), human_bytes(std::filesystem::file_size(target, error)),
               human_bytes(source.bytes()));
    return Ok{};
}

// One draft step behind the first --context tokens: the logits of the block that begins with the next one.
Status write_logits(const Invocation& invocation) {
    const Options& options = invocation.options;
    for (const char* name : {"draft", "tokens", "context", "out"}) {
        if (!options.is_set(name)) return Error{ErrorKind::usage, fmt::format("draft logits needs --{}", name), "see lucebox draft --help"};
    }
    LUCEBOX_TRY(const auto tokens, read_npy_tokens(options.path("tokens")));
    const auto context = static_cast<std::size_t>(options.integer("context"));
    if (context == 0 || context >= tokens.size()) {
        return Error{ErrorKind::usage, fmt::format("--context {}: {} holds {} tokens, and the block begins behind the context", context,
                                                   options.path("tokens").string(), tokens.size())};
    }
    LUCEBOX_TRY(LoadedModel model, LoadedModel::load(options, context, rows_per_step));
    LUCEBOX_TRY(const auto file, model::DflashFile::open(options.path("draft")));
    LUCEBOX_TRY(const auto draft, model::DraftRunner::load(file, *model.device, *model.runner));
    draft->clear(model.sequence);
    std::vector<std::int32_t> rows;
    for (std::size_t begin = 0; begin < context; begin += rows_per_step) {
        const auto piece = std::span(tokens).subspan(begin, std::min(rows_per_step, context - begin));
        LUCEBOX_CHECK(model.feed(piece, false));
        rows.resize(piece.size());
        std::iota(rows.begin(), rows.end(), 0);
        draft->append(model.sequence, rows);
    }
    const std::vector<float> values = draft->logits({model.sequence, tokens[context]});
    LUCEBOX_TRY(AtomicFile out, AtomicFile::create(options.path("out")));
    const std::size_t shape[] = {draft->block(), model.runner->vocabulary()};
    const std::string header = npy_f32_header(shape);
    LUCEBOX_CHECK(out.write(std::as_bytes(std::span(header))));
    LUCEBOX_CHECK(out.write(std::as_bytes(std::span(values))));
    return out.commit();
}

} // namespace

Status draft(const Invocation& invocation) {
    const std::string action = invocation.operands.empty() ? "" : invocation.operands[0];
    if (action == "convert") return convert(invocation);
    if (action == "logits") return write_logits(invocation);
    return Error{ErrorKind::usage, "draft needs an action: convert or logits", "see lucebox draft --help"};
}

} // namespace lucebox::app
