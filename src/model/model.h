// A language model bound to a device: weights by name, and one pass over the rows of a step.
//
// Architectures are rows of the table in model.cpp; each is one file that reads like its specification and knows nothing
// of where it runs. Immutable once loaded; used by the one thread that drives the device.
#pragma once

#include "model/layers.h"

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace lucebox::model {

class Model {
public:
    // Chooses the architecture by `general.architecture`; an unknown one is ErrorKind::unsupported and names those known.
    static Result<std::unique_ptr<Model>> load(const gguf::ModelFile& file, const Placement& placement,
                                               std::function<void(double)> progress = {});
    virtual ~Model() = default;

    std::size_t width() const { return vocabulary_.width(); }
    std::size_t trained_context() const { return trained_context_; }
    std::uint64_t weight_bytes() const { return weight_bytes_; }
    const Vocabulary& vocabulary() const { return vocabulary_; }

    virtual std::vector<cache::LayerShape> layers() const = 0;
    std::size_t layer_count() const { return layer_count_; }
    virtual std::size_t scratch_width() const = 0; // floats of scratch a row needs, x not included

    // x [rows, width] from the output of layer begin - 1 (of the embedding, if that is 0) to the output of layer end - 1.
    void run_layers(Pass& pass, Tensor x, std::size_t begin, std::size_t end) const;

protected:
    virtual void run_layer(Pass& pass, std::size_t layer, Tensor x) const = 0;

    Vocabulary vocabulary_;

private:
    std::size_t trained_context_ = 0, layer_count_ = 0;
    std::uint64_t weight_bytes_ = 0;
};

std::vector<std::string_view> known_architectures();
// What load() would say of the architecture, before anything else of the file is read.
Status check_architecture(const gguf::ModelFile& file);

// One for each file of the folder. They return a model even when the loader has failed; the caller checks.
std::unique_ptr<Model> load_llama(Loader& loader);
std::unique_ptr<Model> load_qwen2(Loader& loader);
std::unique_ptr<Model> load_qwen3(Loader& loader);
std::unique_ptr<Model> load_gemma3(Loader& loader);
std::unique_ptr<Model> load_qwen35(Loader& loader);

} // namespace lucebox::model
