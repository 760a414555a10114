// The shape of the source tree: layers include only layers above them, and no file grows past what a reader can hold.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// Top to bottom, as in docs/architecture.md. A folder uses itself and folders before it.
constexpr std::array layers{"base",  "gguf",  "text",   "compute", "cache", "model",
                            "decode", "engine", "hub", "server",  "app"};
constexpr std::size_t most_lines = 800;

std::size_t rank(const std::string& layer) {
    return static_cast<std::size_t>(std::find(layers.begin(), layers.end(), layer) - layers.begin());
}

struct Line {
    std::string text;
    std::size_t number;
};

std::vector<Line> lines_of(const fs::path& path) {
    std::ifstream file(path);
    std::vector<Line> lines;
    for (std::string line; std::getline(file, line);) lines.push_back({line, lines.size() + 1});
    return lines;
}

bool is_source(const fs::path& path) {
    const auto extension = path.extension();
    return extension == ".cpp" || extension == ".h" || extension == ".inc" || extension == ".cu" || extension == ".cuh";
}

std::vector<fs::path> sources(const fs::path& root) {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
        if (entry.is_regular_file() && is_source(entry.path())) found.push_back(entry.path());
    }
    return found;
}

// `#include "layer/..."` of a line, or nothing.
std::string included_layer(const std::string& line) {
    constexpr std::string_view start = "#include \"";
    if (!line.starts_with(start)) return {};
    const std::size_t slash = line.find('/', start.size());
    return slash == std::string::npos ? "" : line.substr(start.size(), slash - start.size());
}

TEST(Layout, EveryFolderOfSrcIsALayer) {
    for (const auto& entry : fs::directory_iterator("src")) {
        EXPECT_LT(rank(entry.path().filename().string()), layers.size()) << entry.path();
    }
}

TEST(Layout, TheDocumentedTableNamesTheLayersInTheirOrder) {
    std::vector<std::string> named;
    bool in_section = false;
    for (const Line& line : lines_of("docs/architecture.md")) {
        if (line.text.starts_with("## ")) in_section = line.text == "## Layers";
        constexpr std::string_view row = "| `";
        if (in_section && line.text.starts_with(row)) named.push_back(line.text.substr(row.size(), line.text.find('`', row.size()) - row.size()));
    }
    EXPECT_EQ(named, std::vector<std::string>(layers.begin(), layers.end()));
}

TEST(Layout, LayersIncludeOnlyLayersAboveThem) {
    std::size_t seen = 0;
    for (const fs::path& path : sources("src")) {
        const std::size_t own = rank((*std::next(path.begin())).string());
        for (const Line& line : lines_of(path)) {
            const std::string layer = included_layer(line.text);
            if (rank(layer) == layers.size()) continue; // a file of the same folder, or no include of ours
            EXPECT_LE(rank(layer), own) << path << ":" << line.number << " includes " << layer;
            ++seen;
        }
    }
    EXPECT_GT(seen, 100u); // the scan found the tree
}

TEST(Layout, WhatABareGpuMachineBuildsNeedsNoServerLibrary) {
    for (const fs::path& path : sources("src")) {
        const std::string layer = (*std::next(path.begin())).string();
        if (rank(layer) >= rank("hub")) continue;
        for (const Line& line : lines_of(path)) {
            for (const char* library : {"<boost/", "<curl/"}) {
                EXPECT_EQ(line.text.find(library), std::string::npos) << path << ":" << line.number;
            }
        }
    }
}

TEST(Layout, ModelsAndKernelsDoNotKnowEachOther) {
    for (const fs::path& path : sources("src/model")) {
        for (const Line& line : lines_of(path)) {
            EXPECT_EQ(line.text.find("#include \"compute/cpu"), std::string::npos) << path << ":" << line.number;
            EXPECT_EQ(line.text.find("#include \"compute/cuda"), std::string::npos) << path << ":" << line.number;
        }
    }
}

TEST(Layout, NoFileIsLongerThanAReaderCanHold) {
    for (const char* root : {"src", "tests", "bench"}) {
        if (!fs::exists(root)) continue;
        for (const fs::path& path : sources(root)) EXPECT_LE(lines_of(path).size(), most_lines) << path;
    }
}

} // namespace
