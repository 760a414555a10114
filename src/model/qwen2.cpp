// Qwen2 and Qwen2.5, and models distilled into them: biases on query, key and value, which the attention block finds by
// name; rotation of pairs (i, i + n/2).
#include "model/dense.h"

namespace lucebox::model {

std::unique_ptr<Model> load_qwen2(Loader& loader) { return load_dense(loader, {}); }

} // namespace lucebox::model
