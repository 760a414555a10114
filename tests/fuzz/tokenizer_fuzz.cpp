// Any bytes as a model's vocabulary, and the same bytes as text: refused by key, or a tokenizer that keeps its
// promises.
#include "gguf/model_file.h"
#include "memory_file.h"
#include "text/tokenizer.h"

#include <algorithm>
#include <cstdlib>

namespace lucebox::text {
namespace {

void use(bool condition) {
    if (!condition) std::abort();
}

void use_tokens(const Tokenizer& tokenizer) {
    for (TokenId id = -1; id <= tokenizer.vocabulary_size(); ++id) {
        const std::string bytes = tokenizer.token_bytes(id);
        const std::string shown = tokenizer.token_bytes(id, true);
        use(bytes.empty() || bytes == shown);
        if (!shown.empty() && tokenizer.kind(id) != TokenKind::byte) {
            const TokenId found = tokenizer.find(shown);
            use(found >= 0 && tokenizer.token_bytes(found, true) == shown);
        }
        use(!tokenizer.is_end_of_generation(id) || tokenizer.kind(id) == TokenKind::control);
    }
    use(tokenizer.find("") == -1);
    use(!tokenizer.adds_bos() || tokenizer.bos() >= 0);
}

void use_text(const Tokenizer& tokenizer, std::string_view text) {
    for (const bool trusted : {false, true}) {
        const auto ids = tokenizer.encode(text, {.add_special = false, .parse_special = trusted});
        Utf8Stream stream;
        std::size_t bytes = 0;
        for (const TokenId id : ids) {
            use(id >= 0 && id < tokenizer.vocabulary_size() && tokenizer.kind(id) != TokenKind::unused);
            use(trusted || tokenizer.kind(id) != TokenKind::control);
            const std::string piece = tokenizer.token_bytes(id, true);
            bytes += piece.size();
            (void)stream.push(piece);
        }
        (void)stream.finish();
        const std::string back = tokenizer.decode(ids, true);
        use(back.size() <= bytes && bytes <= back.size() + 1); // but for the space in front
    }
}

} // namespace
} // namespace lucebox::text

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace lucebox::text;
    const lucebox::MemoryFile bytes(data, size);
    const auto file = lucebox::gguf::ModelFile::open(bytes.path());
    if (!file) return 0;
    const auto tokenizer = Tokenizer::from_metadata(*file);
    if (!tokenizer) {
        use(std::ranges::all_of(tokenizer.error().message, [](char c) { return c >= ' ' && c <= '~'; }));
        return 0;
    }
    use_tokens(**tokenizer);
    use_text(**tokenizer, {reinterpret_cast<const char*>(data), size});
    return 0;
}
