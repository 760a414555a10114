#include "app/config_import.h"

#include "app/aliases.h"
#include "app/commands.h"
#include "app/config_file.h"
#include "base/assignments.h"
#include "base/file.h"
#include "base/shown_path.h"
#include "base/toml_edit.h"
#include "decode/speculation.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace lucebox::app {
namespace {

constexpr std::size_t most_bytes = 64 << 10; // of a file of a dozen lines

// The host wrapper's own settings. It checks them again when it reads them.
struct WrapperKey {
    std::string_view variable, section, key;
    enum class Form { text,
                      name,
                      port,
                      image } form;
};
constexpr std::array wrapper_keys{
    WrapperKey{"LUCEBOX_IMAGE", "image", "registry", WrapperKey::Form::image},
    WrapperKey{"LUCEBOX_VARIANT", "image", "variant", WrapperKey::Form::name},
    WrapperKey{"LUCEBOX_MODELS", "paths", "models", WrapperKey::Form::text},
    WrapperKey{"LUCEBOX_CONTAINER", "runtime", "container_name", WrapperKey::Form::name},
    WrapperKey{"LUCEBOX_PORT", "runtime", "port", WrapperKey::Form::port},
    // The wrapper published it on this machine; inside the container the port was fixed.
    WrapperKey{"DFLASH_PORT", "runtime", "port", WrapperKey::Form::port},
    WrapperKey{"LUCE_PORT", "runtime", "port", WrapperKey::Form::port},
};

enum class Outcome { set,
                     same,
                     kept,
                     left_out };
std::string_view name_of(Outcome outcome) {
    constexpr std::array<std::string_view, 4> names{"set", "same", "kept", "left_out"};
    return names[static_cast<std::size_t>(outcome)];
}

struct Finding {
    Assignment from;
    bool known = false; // else its value is nobody's business: it may be a secret
    std::string key, becomes, why;
    Outcome outcome = Outcome::left_out;
};

Result<std::string> wrapper_literal(const WrapperKey& row, const std::string& value) {
    const auto wrong = [&](std::string_view what, std::string hint = {}) { return Error{ErrorKind::usage, fmt::format("{} = '{}': {}", row.variable, value, what), std::move(hint)}; };
    if (row.form == WrapperKey::Form::port) {
        int port = 0;
        const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), port);
        if (problem != std::errc{} || end != value.data() + value.size() || port < 1 || port > 65535) return wrong("a port is a number from 1 to 65535");
        return fmt::format("{}", port);
    }
    const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
    if (row.form == WrapperKey::Form::name && (!letter(value.front()) || !std::ranges::all_of(value, [&](char c) { return letter(c) || c == '_' || c == '.' || c == '-'; }))) {
        return wrong("letters, digits, and _ . - are allowed");
    }
    if (row.form == WrapperKey::Form::image && value.find(':', value.rfind('/') == std::string::npos ? 0 : value.rfind('/')) != std::string::npos) {
        return wrong("the image is named without its tag here", "write the tag as LUCEBOX_VARIANT");
    }
    return toml_string(value);
}

// The settings that the file makes, one after the other, and what the configuration says of them already.
class Import {
public:
    Import(std::string text, const ImportSettings& settings, const Environment& environment) : before_(std::move(text)), settings_(settings), environment_(environment) {}

    Status add(const Assignment& assignment) {
        Finding& finding = findings_.emplace_back();
        finding.from = assignment;
        const auto wrapper = std::ranges::find(wrapper_keys, assignment.name, &WrapperKey::variable);
        const Alias* alias = alias_of(assignment.name);
        finding.known = wrapper != wrapper_keys.end() || alias != nullptr;
        if (!finding.known) finding.why = "no setting that is carried over";
        else if (assignment.value.empty()) finding.why = "it has no value";
        else if (wrapper != wrapper_keys.end()) return add_wrapper(finding, *wrapper);
        else return add_option(finding, *alias);
        return Ok{};
    }

    const std::vector<Finding>& findings() const { return findings_; }
    const std::string& before() const { return before_; }
    Result<std::string> after() const { return changed_config(before_, changes_); }

    // Settings that are right one by one may still contradict each other.
    Status check() const {
        LUCEBOX_TRY(const Options options, Options::resolve(option_table(), imported_, environment_));
        if (const auto kv_type = chosen_kv_type(options); !kv_type) return kv_type.error();
        return Ok{};
    }

private:
    static const Alias* alias_of(std::string_view name) {
        for (const std::string_view prefix : {"DFLASH_", "LUCE_"}) {
            if (!name.starts_with(prefix)) continue;
            const auto found = std::ranges::find(aliases(), name.substr(prefix.size()), &Alias::variable);
            if (found != aliases().end()) return &*found;
        }
        return nullptr;
    }

    Status add_wrapper(Finding& finding, const WrapperKey& row) {
        LUCEBOX_TRY(const std::string literal, wrapper_literal(row, finding.from.value));
        finding.key = fmt::format("{}.{}", row.section, row.key);
        finding.becomes = row.form == WrapperKey::Form::port ? literal : finding.from.value;
        LUCEBOX_TRY(const auto there, toml_value(before_, row.section, row.key));
        finding.why = "for the host wrapper";
        decide(finding, there);
        if (finding.outcome == Outcome::set) changes_.push_back({std::string(row.section), std::string(row.key), literal});
        return Ok{};
    }

    Status add_option(Finding& finding, const Alias& alias) {
        const OptionSpec* option = option_of(alias, option_table());
        if (option == nullptr) {
            finding.why = fmt::format("{}: without effect in this build", alias.meaning);
        } else if (option->name == "host") {
            finding.why = "where the container listens is the wrapper's to say: lucebox config set lan=true";
        } else if (finding.from.value.starts_with("/opt/lucebox-hub/")) {
            finding.why = "a place in earlier images; the model folder is searched instead";
        }
        if (!finding.why.empty()) return Ok{};
        finding.becomes = value_of(alias, finding.from.value);
        LUCEBOX_TRY(const Options::Value value, parse_option({option, finding.becomes, OptionOrigin::file, finding.from.name}, environment_));
        if (option->name == "speculation") {
            finding.why = "a tree needs a draft";
            if (const auto speculation = decode::parse_speculation(finding.becomes); !speculation) return speculation.error();
        }
        finding.key = file_key(*option);
        const std::string key = finding.key.substr(finding.key.find('.') + 1);
        LUCEBOX_TRY(auto there, toml_value(before_, option->section, key));
        // Under its old name in the same file it has effect, too, and would stand beside the new one.
        std::vector<ConfigChange> old_names;
        for (const Alias& other : aliases()) {
            if (other.key.empty() || option_of(other, option_table()) != option || other.form != "{}") continue;
            const std::string section(other.key.substr(0, other.key.find('.'))), name(other.key.substr(other.key.find('.') + 1));
            LUCEBOX_TRY(const auto old, toml_value(before_, section, name));
            if (old) old_names.push_back({section, name, std::nullopt});
            if (old && !there) there = old;
        }
        decide(finding, there);
        if (finding.outcome != Outcome::set) return Ok{};
        imported_.push_back({option, finding.becomes, OptionOrigin::file, finding.from.name});
        changes_.insert(changes_.end(), old_names.begin(), old_names.end());
        changes_.push_back({std::string(option->section), key, config_literal(value, finding.becomes)});
        return Ok{};
    }

    // Of several assignments to one key the last one counts, as in a shell.
    void decide(Finding& finding, const std::optional<std::string>& there) {
        for (Finding& earlier : findings_) {
            if (&earlier == &finding || earlier.key != finding.key) continue;
            earlier.outcome = Outcome::left_out;
            earlier.why = fmt::format("line {} says it again", finding.from.line);
            std::erase_if(changes_, [&](const ConfigChange& change) { return change.literal && change.section + '.' + change.key == finding.key; });
            std::erase_if(imported_, [&](const OptionSetting& setting) { return file_key(*setting.spec) == finding.key; });
        }
        finding.outcome = Outcome::set;
        if (there && *there == finding.becomes) finding.outcome = Outcome::same;
        else if (there && !settings_.overwrite) {
            finding.outcome = Outcome::kept;
            finding.why = fmt::format("{} is set; --overwrite replaces it", *there);
        } else if (there) {
            finding.why = fmt::format("instead of {}", *there);
        }
    }

    const std::string before_;
    const ImportSettings& settings_;
    const Environment& environment_;
    std::vector<Finding> findings_;
    std::vector<ConfigChange> changes_;
    std::vector<OptionSetting> imported_;
};

void print(const Import& import, const std::filesystem::path& path, bool dry_run, bool changed) {
    for (const Finding& finding : import.findings()) {
        const std::string from = finding.known ? fmt::format("{}={}", finding.from.name, finding.from.value) : finding.from.name;
        std::string what = fmt::format("{} = {}", finding.key, finding.becomes);
        if (finding.outcome == Outcome::same) what += ", as it is";
        if (finding.outcome == Outcome::kept) what = fmt::format("{} stays as it is", finding.key);
        if (finding.outcome == Outcome::left_out) what = "left out";
        fmt::print("{:>4}  {:<36} {}{}\n", finding.from.line, from, what, finding.why.empty() ? "" : fmt::format(" ({})", finding.why));
    }
    if (!changed) fmt::print("nothing to change in {}\n", shown_path(path));
    else if (dry_run) fmt::print("nothing was written; without --dry-run it goes to {}\n", shown_path(path));
    else fmt::print("it is in {}; `lucebox config restore` brings back what was there\n", shown_path(path));
}

void print_json(const Import& import, const std::filesystem::path& file, const std::filesystem::path& path, bool dry_run, bool changed) {
    using Json = nlohmann::ordered_json;
    Json list = Json::array();
    const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
    for (const Finding& finding : import.findings()) {
        list.push_back({{"line", finding.from.line},
                        {"name", finding.from.name},
                        {"value", finding.known ? Json(finding.from.value) : Json()},
                        {"outcome", name_of(finding.outcome)},
                        {"key", or_null(finding.key)},
                        {"becomes", or_null(finding.becomes)},
                        {"why", or_null(finding.why)}});
    }
    const Json report{{"file", file.string()}, {"config", shown_path(path)}, {"written", changed && !dry_run}, {"would_change", changed}, {"settings", list}};
    fmt::print("{}\n", report.dump(2, ' ', false, Json::error_handler_t::replace));
}

} // namespace

Status import_config(std::span<const std::string> operands, const ImportSettings& settings, const Environment& environment) {
    if (operands.size() != 1) return Error{ErrorKind::usage, "config import needs one file", "lucebox config import ~/.lucebox/config.env"};
    const std::filesystem::path path = config_path(environment), file = operands.front();
    if (path.empty()) return Error{ErrorKind::usage, "there is no place for a configuration file", "set HOME or LUCEBOX_CONFIG"};
    LUCEBOX_TRY(const std::string old, read_text_file(file, most_bytes));
    LUCEBOX_TRY(const auto assignments, parse_assignments(old, file.string()));
    LUCEBOX_TRY(std::string before, config_text(path));
    Import import(std::move(before), settings, environment);
    for (const Assignment& assignment : assignments) {
        if (const Status added = import.add(assignment); !added) {
            return Error{added.error().kind, fmt::format("{}:{}: {}", file.string(), assignment.line, added.error().message), added.error().hint};
        }
    }
    LUCEBOX_CHECK(import.check());
    LUCEBOX_TRY(const std::string after, import.after());
    const bool changed = after != import.before();
    if (changed && !settings.dry_run) LUCEBOX_CHECK(keep_config(path, import.before(), after));
    if (settings.json) print_json(import, file, path, settings.dry_run, changed);
    else print(import, path, settings.dry_run, changed);
    return Ok{};
}

} // namespace lucebox::app
