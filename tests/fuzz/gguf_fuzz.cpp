// Any bytes as a GGUF model: refused, or safe to use in every way the program uses one.
#include "gguf/blocks.h"
#include "gguf/model_file.h"
#include "memory_file.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

namespace lucebox::gguf {
namespace {

void use(bool condition) {
    if (!condition) std::abort();
}

void use_metadata(const ModelFile& file) {
    for (const std::string_view key : file.keys()) {
        use(file.metadata(key) != nullptr && file.encoded_metadata(key).size() >= 5);
        (void)file.get_unsigned(key);
        (void)file.get_integer(key);
        (void)file.get_number(key);
        (void)file.get_bool(key);
        (void)file.get_string(key);
        (void)file.get_integers(key);
        (void)file.get_numbers(key);
        (void)file.get_strings(key);
    }
}

void use_tensor(const ModelFile& file, const Tensor& tensor) {
    use(file.find(tensor.name) == &tensor);
    use(tensor.elements() > 0 && tensor.row_bytes() * tensor.rows() == tensor.data.size());
    std::array<std::byte, 1> last{};
    use(bool(file.read(tensor, tensor.data.size() - 1, last)) && last[0] == tensor.data.back());
    const BlockFormat& format = block_format(tensor.type);
    if (!format.dequantisable) return;
    std::vector<float> values(tensor.shape[0]);
    dequantise_row(tensor.type, tensor.data.last(tensor.row_bytes()), values);
    if (!quantisable(tensor.type)) return;
    std::vector<std::byte> blocks(tensor.row_bytes());
    (void)quantise_row(tensor.type, values, blocks); // may refuse NaN, must not fall over it
}

} // namespace
} // namespace lucebox::gguf

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lucebox::gguf;
    const lucebox::MemoryFile bytes(data, size);
    const auto file = ModelFile::open(bytes.path());
    if (!file) {
        use(file.error().kind == lucebox::ErrorKind::invalid_data);
        use(std::ranges::all_of(file.error().message, [](char c) { return c >= ' ' && c < 0x7F; }));
        return 0;
    }
    use_metadata(*file);
    for (const Tensor& tensor : file->tensors())
        use_tensor(*file, tensor);
    return 0;
}
