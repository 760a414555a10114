// lucebox quantize: a smaller GGUF out of a GGUF.
#include "app/commands.h"
#include "base/terminal.h"
#include "gguf/quantise_model.h"

#include <fmt/format.h>

namespace lucebox::app {

Status quantize(const Invocation& invocation) {
    if (invocation.operands.size() != 2) {
        return Error{ErrorKind::usage, "quantize needs an input and an output file", "lucebox quantize --type Q4_K_M model-f16.gguf model-q4.gguf"};
    }
    LUCEBOX_TRY(const auto source, gguf::ModelFile::open(invocation.operands[0]));
    const std::filesystem::path target = invocation.operands[1];
    gguf::QuantiseOptions options;
    const std::string& type = invocation.options.text("type");
    if (const auto plain = gguf::tensor_type_from_name(type)) options.target = *plain;
    else options.target = type;
    ProgressBar progress("quantizing", source.file_bytes());
    options.progress = [&](const gguf::QuantiseProgress& at) {
        progress.update(at.done_bytes);
        return true;
    };
    LUCEBOX_CHECK(gguf::quantise_model(source, target, options));
    progress.update(source.file_bytes());
    progress.finish();
    std::error_code error;
    const std::uint64_t bytes = std::filesystem::file_size(target, error);
    fmt::print("{}: {} ({} before)\n", target.string(), human_bytes(bytes), human_bytes(source.file_bytes()));
    return Ok{};
}

} // namespace lucebox::app
