// The configuration file: TOML tables named by section, keys named by option.
#include "base/file.h"
#include "base/options.h"

#include <algorithm>
#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace lucebox {
namespace {

std::string_view section_of(std::string_view key) { return key.substr(0, key.find('.')); }

class FileReader {
public:
    FileReader(std::span<const OptionSpec> table, std::string path, const ForeignKeys& foreign, std::vector<std::string>* warnings)
        : table_(table), path_(std::move(path)), foreign_(foreign), warnings_(warnings) {}

    Result<std::vector<OptionSetting>> read(const toml::table& root) {
        for (const auto& [key, node] : root) {
            LUCEBOX_CHECK(node.is_table() ? read_section(key.str(), *node.as_table()) : read_key("", key.str(), node));
        }
        return std::move(settings_);
    }

private:
    std::string where(const toml::node& node) const { return fmt::format("{}:{}", path_, node.source().begin.line); }

    Status read_section(std::string_view section, const toml::table& content) {
        const auto& others = foreign_.sections;
        if (std::find(others.begin(), others.end(), section) != others.end()) return Ok{};
        const bool known = std::any_of(table_.begin(), table_.end(), [&](const auto& s) { return s.section == section; }) ||
                           std::any_of(foreign_.aliases.begin(), foreign_.aliases.end(), [&](const auto& a) { return section_of(a.first) == section; }) ||
                           std::any_of(foreign_.without_effect.begin(), foreign_.without_effect.end(), [&](const auto& key) { return section_of(key) == section; });
        if (!known) {
            std::vector<std::string_view> sections;
            for (const auto& spec : table_)
                sections.push_back(spec.section);
            return unknown(where(content), fmt::format("section [{}]", section), nearest_name(section, sections));
        }
        for (const auto& [key, node] : content)
            LUCEBOX_CHECK(read_key(section, key.str(), node));
        return Ok{};
    }

    Status read_key(std::string_view section, std::string_view key, const toml::node& node) {
        std::string full = section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
        std::replace(full.begin(), full.end(), '-', '_');
        for (const auto& [alias, spec] : foreign_.aliases) {
            if (alias == full) return add(*spec, node);
        }
        for (const auto& ignored : foreign_.without_effect) {
            if (ignored != full) continue;
            if (warnings_ != nullptr) warnings_->push_back(fmt::format("{}: {} has no effect in this build", where(node), full));
            return Ok{};
        }
        std::vector<std::string> keys;
        for (const auto& spec : table_) {
            keys.push_back(file_key(spec));
            if (keys.back() == full) return add(spec, node);
        }
        // The right key in the wrong section is a likelier slip than a misspelled one.
        for (const auto& spec : table_) {
            const std::string& candidate = keys[static_cast<std::size_t>(&spec - table_.data())];
            if (candidate.substr(candidate.find('.') + 1) == full.substr(full.find('.') + 1)) {
                return Error{ErrorKind::usage,
                             fmt::format("{}: {} belongs into section [{}]", where(node), key, spec.section)};
            }
        }
        const std::vector<std::string_view> known(keys.begin(), keys.end());
        return unknown(where(node), fmt::format("key {}", full), nearest_name(full, known));
    }

    static Error unknown(const std::string& place, const std::string& what, std::string_view near) {
        Error error{ErrorKind::usage, fmt::format("{}: unknown {}", place, what)};
        error.hint = near.empty() ? "`lucebox config` lists every key" : fmt::format("did you mean {}?", near);
        return error;
    }

    Status add(const OptionSpec& spec, const toml::node& node) {
        std::string text;
        if (const auto* array = node.as_array(); array != nullptr && spec.type == OptionType::list) {
            for (const auto& item : *array) {
                LUCEBOX_TRY(const std::string part, scalar(item));
                // A comma inside an item would make two of it.
                if (part.find(',') != std::string::npos) {
                    return Error{ErrorKind::usage, fmt::format("{}: an item may not contain a comma", where(item))};
                }
                text += (text.empty() ? "" : ",") + part;
            }
        } else {
            LUCEBOX_TRY(text, scalar(node));
        }
        settings_.push_back({&spec, std::move(text), OptionOrigin::file, where(node)});
        return Ok{};
    }

    Result<std::string> scalar(const toml::node& node) const {
        if (const auto* value = node.as_string()) return value->get();
        if (const auto* value = node.as_boolean()) return std::string(value->get() ? "true" : "false");
        if (const auto* value = node.as_integer()) return fmt::format("{}", value->get());
        if (const auto* value = node.as_floating_point()) return fmt::format("{}", value->get());
        return Error{ErrorKind::usage, fmt::format("{}: a single value is expected here", where(node))};
    }

    std::span<const OptionSpec> table_;
    std::string path_;
    const ForeignKeys& foreign_;
    std::vector<std::string>* warnings_;
    std::vector<OptionSetting> settings_;
};

} // namespace

Result<std::vector<OptionSetting>> options_from_file(std::span<const OptionSpec> table,
                                                     const std::filesystem::path& path,
                                                     const ForeignKeys& foreign, std::vector<std::string>* warnings) {
    LUCEBOX_TRY(const std::string text, read_text_file(path, 1u << 20)); // a megabyte is a thousand options
    const toml::parse_result parsed = toml::parse(text, path.string());
    if (!parsed) {
        const auto& problem = parsed.error();
        return Error{ErrorKind::usage,
                     fmt::format("{}:{}: {}", path.string(), problem.source().begin.line, problem.description())};
    }
    return FileReader(table, path.string(), foreign, warnings).read(parsed.table());
}

} // namespace lucebox
