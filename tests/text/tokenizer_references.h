// Reads tests/data/tokenizers: texts and what reference tokenizers make of them.
#pragma once

#include "gguf/model_file.h"
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace lucebox::text {

inline std::filesystem::path reference_path(const std::string& name) {
    return std::filesystem::path("tests/data/tokenizers") / name;
}

inline std::vector<std::string> reference_lines(const std::string& name) {
    std::ifstream in(reference_path(name));
    EXPECT_TRUE(in) << name;
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);)
        lines.push_back(line);
    return lines;
}

inline const std::vector<std::string>& reference_texts() {
    static const std::vector<std::string> texts = [] {
        std::vector<std::string> out;
        for (const std::string& line : reference_lines("texts.hex")) {
            std::string& text = out.emplace_back();
            for (std::size_t i = 0; i + 1 < line.size(); i += 2)
                text.push_back(static_cast<char>(std::stoi(line.substr(i, 2), nullptr, 16)));
        }
        return out;
    }();
    return texts;
}

inline std::vector<TokenId> numbers(const std::string& line) {
    std::istringstream in(line);
    std::vector<TokenId> out;
    for (TokenId id = 0; in >> id;)
        out.push_back(id);
    return out;
}

// The ids of each text; those of trusted text where `trusted`.
inline std::vector<std::vector<TokenId>> reference_ids(const std::string& name, bool trusted) {
    std::vector<std::vector<TokenId>> out;
    for (const std::string& line : reference_lines(name + ".ids"))
        out.push_back(numbers(line));
    if (!trusted) return out;
    for (const std::string& line : reference_lines(name + ".special.ids")) {
        std::vector<TokenId> ids = numbers(line);
        const auto text = static_cast<std::size_t>(ids.at(0));
        ids.erase(ids.begin());
        out.at(text) = std::move(ids);
    }
    return out;
}

inline std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path) {
    auto file = gguf::ModelFile::open(path);
    if (!file) {
        ADD_FAILURE() << file.error().message;
        return nullptr;
    }
    auto tokenizer = Tokenizer::from_metadata(*file);
    if (!tokenizer) {
        ADD_FAILURE() << tokenizer.error().message;
        return nullptr;
    }
    return std::move(*tokenizer);
}

} // namespace lucebox::text
