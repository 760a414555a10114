// Qwen3: no biases; every query and key head is normed before rotation.
#include "model/dense.h"

namespace lucebox::model {

std::unique_ptr<Model> load_qwen3(Loader& loader) { return load_dense(loader, {.adjacent_pairs = false, .head_norms = true}); }

} // namespace lucebox::model
