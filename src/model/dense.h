// The plain pre-norm transformer that Llama, Qwen2 and Qwen3 are variants of:
//     x += attention(rms(x, attn_norm));  x += mlp(rms(x, ffn_norm))
#pragma once

#include "model/model.h"

namespace lucebox::model {

struct DenseVariant {
    bool adjacent_pairs = false; // rotation pairs (2i, 2i+1)
    bool head_norms = false;     // RMS norm of every query and key head
};

std::unique_ptr<Model> load_dense(Loader& loader, const DenseVariant& variant);

} // namespace lucebox::model
