// A DFlash draft as it is stored: a GGUF (`dflash-draft`, `qwen35-dflash-draft`, `gemma4-dflash-draft`), or safetensors
// with config.json as drafts are published. Both come out as one set of names and one set of numbers.
//
// Weights are the truth where metadata contradicts itself: how many target layers are read follows from the width of the
// fusing matrix. Tensors point into mappings that the object owns; immutable after open().
#pragma once

#include "gguf/model_file.h"
#include "gguf/safetensors.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::model {

struct DflashConfig {
    std::string architecture, name;
    std::size_t width = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, inner = 0;
    double epsilon = 1e-6, rope_base = 1e4;
    std::size_t context = 0;                // trained for; 0: unknown
    std::size_t vocabulary = 0;             // of the target
    std::size_t block = 0;                  // tokens a step: the committed one and block - 1 masks
    std::int32_t mask_token = 0;
    std::vector<std::size_t> target_layers; // whose outputs it reads, in this order
    std::vector<bool> sliding;              // for each layer
    std::size_t window = 0;                 // tokens a sliding layer sees, the row itself included
    bool context_layer_norm = false;        // K and V of the context pass the layer's input norm
};

class DflashFile {
public:
    // `path`: a .gguf file, a .safetensors file or index with config.json beside it, or a folder with both.
    static Result<DflashFile> open(const std::filesystem::path& path);

    const DflashConfig& config() const { return config_; }
    const std::filesystem::path& path() const { return path_; }
    // By GGUF name, the main one where there are several; nullptr if absent.
    const gguf::Tensor* find(std::string_view name) const;
    const std::vector<gguf::Tensor>& tensors() const { return tensors_; }
    std::uint64_t bytes() const;

private:
    Status read_gguf_config();
    Status read_json_config(const std::filesystem::path& path);
    Status take_gguf_tensors();
    Status take_safetensors();
    Status check();

    std::filesystem::path path_;
    std::optional<gguf::ModelFile> gguf_;
    std::optional<gguf::Safetensors> safetensors_;
    DflashConfig config_;
    std::vector<gguf::Tensor> tensors_;
};

} // namespace lucebox::model
