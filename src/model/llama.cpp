// Llama and its descendants (SmolLM2, Mistral). Files hold query and key rows permuted for adjacent-pair rotation; the
// head size may be given (attention.key_length) and need not be width / heads.
#include "model/dense.h"

namespace lucebox::model {

std::unique_ptr<Model> load_llama(Loader& loader) { return load_dense(loader, {.adjacent_pairs = true, .head_norms = false}); }

} // namespace lucebox::model
