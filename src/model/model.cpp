#include "model/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

namespace lucebox::model {
namespace {

struct Architecture {
    std::string_view name;
    std::unique_ptr<Model> (*load)(Loader&);
};

constexpr std::array architectures{
    Architecture{"llama", load_llama},   Architecture{"qwen2", load_qwen2},   Architecture{"qwen3", load_qwen3},
    Architecture{"gemma3", load_gemma3}, Architecture{"qwen35", load_qwen35},
};

} // namespace

std::vector<std::string_view> known_architectures() {
    std::vector<std::string_view> names;
    names.reserve(std::size(architectures));
    for (const Architecture& architecture : architectures) names.push_back(architecture.name);
    return names;
}

Status check_architecture(const gguf::ModelFile& file) {
    LUCEBOX_TRY(const auto stated, file.get_string("general.architecture"));
    if (!stated) return Error{ErrorKind::invalid_data, "the file has no general.architecture"};
    const std::string& name = *stated;
    const auto known = known_architectures();
    if (std::ranges::find(known, name) != known.end()) return Ok{};
    return Error{ErrorKind::unsupported, fmt::format("architecture '{}' is not supported", name),
                 name.ends_with("dflash-draft") ? "this is a draft: --draft FILE, beside the model that it was trained for" : fmt::format("supported are {}", fmt::join(known, ", "))};
}

Result<std::unique_ptr<Model>> Model::load(const gguf::ModelFile& file, const Placement& placement,
                                           std::function<void(double)> progress) {
    Loader loader(file, placement, std::move(progress));
    LUCEBOX_CHECK(loader.status());
    LUCEBOX_CHECK(check_architecture(file));
    for (const Architecture& architecture : architectures) {
        if (architecture.name != loader.architecture()) continue;
        std::unique_ptr<Model> model = architecture.load(loader);
        model->trained_context_ = loader.size("context_length");
        model->weight_bytes_ = loader.weight_bytes();
        LUCEBOX_CHECK(loader.status());
        model->layer_count_ = model->layers().size();
        return model;
    }
    return Error{ErrorKind::internal, "an architecture without a loader"}; // the table above was asked
}

void Model::run_layers(Pass& pass, Tensor x, std::size_t begin, std::size_t end) const {
    for (std::size_t layer = begin; layer < end; ++layer) {
        run_layer(pass, layer, x);
        if (pass.tap) pass.tap(layer, x);
        if (!pass.capture) continue;
        for (std::size_t i = 0; i < pass.capture->layers.size(); ++i) {
            if (pass.capture->layers[i] == layer) pass.device.store_columns(x, pass.capture->features, i * x.width);
        }
    }
}

} // namespace lucebox::model
