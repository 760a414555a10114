#include "model/dflash_target.h"

#include <fmt/format.h>

#include <array>

namespace lucebox::model {
namespace {

// A draft's architecture tells of which makers' models it is; that of a plain `dflash-draft` tells nothing.
struct Makers {
    std::string_view draft, target;
};
constexpr std::array makers{Makers{"qwen35-dflash-draft", "qwen"}, Makers{"gemma4-dflash-draft", "gemma"}};

Error mismatch(std::string message) {
    return {ErrorKind::invalid_data, std::move(message), "use the draft that was trained for this model"};
}

} // namespace

Result<DflashTarget> dflash_target(const gguf::ModelFile& file) {
    DflashTarget target;
    LUCEBOX_TRY(const auto architecture, file.get_string("general.architecture"));
    target.architecture = architecture.value_or("");
    const gguf::Tensor* embedding = file.find("token_embd.weight");
    if (embedding == nullptr) return Error{ErrorKind::invalid_data, "tensor token_embd.weight is missing"};
    target.width = embedding->shape[0];
    target.vocabulary = embedding->rows();
    LUCEBOX_TRY(const auto blocks, file.get_unsigned(target.architecture + ".block_count"));
    LUCEBOX_TRY(const auto predictors, file.get_unsigned(target.architecture + ".nextn_predict_layers"));
    target.layers = blocks.value_or(0) > predictors.value_or(0) ? blocks.value_or(0) - predictors.value_or(0) : 0;
    return target;
}

Status check_fits(const DflashConfig& draft, const DflashTarget& target) {
    for (const Makers& each : makers) {
        if (draft.architecture == each.draft && !target.architecture.empty() && !target.architecture.starts_with(each.target)) {
            return mismatch(fmt::format("the draft is a {}, the model is of the architecture {}", draft.architecture, target.architecture));
        }
    }
    if (draft.width != target.width) return mismatch(fmt::format("the draft has width {}, the model has width {}", draft.width, target.width));
    if (draft.vocabulary != target.vocabulary) {
        return mismatch(fmt::format("the draft has a vocabulary of {}, the model of {}", draft.vocabulary, target.vocabulary));
    }
    for (const std::size_t id : draft.target_layers) {
        if (id < target.layers) continue;
        return mismatch(target.layers == 0 ? fmt::format("the draft reads layer {}, the model has none", id)
                                           : fmt::format("the draft reads layer {} of a model that has layers 0 to {}", id, target.layers - 1));
    }
    return Ok{};
}

} // namespace lucebox::model
