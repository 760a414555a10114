// Any bytes as a safetensors file or as the index of a sharded one: refused, or safe to read.
#include "gguf/safetensors.h"
#include "gguf/safetensors_header.h"
#include "memory_file.h"

#include <cstdlib>
#include <vector>

namespace {

void use(bool condition) {
    if (!condition) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lucebox::gguf;
    const auto index = parse_shard_index({reinterpret_cast<const char*>(data), size});
    if (index) {
        for (const auto& [tensor, file] : *index)
            use(!tensor.empty() && file.find('/') == file.npos && !file.empty());
    }
    const lucebox::MemoryFile bytes(data, size);
    const auto file = Safetensors::open(bytes.path());
    if (!file) {
        use(file.error().kind == lucebox::ErrorKind::invalid_data);
        return 0;
    }
    for (const StoredTensor& tensor : file->tensors()) {
        use(file->find(tensor.name) == &tensor);
        use(tensor.elements() * stored_format(tensor.type).bytes == tensor.data.size());
        std::vector<float> values(tensor.elements());
        (void)read_f32(tensor, 0, values);
    }
    return 0;
}
