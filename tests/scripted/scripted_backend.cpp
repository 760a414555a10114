#include "scripted_backend.h"

#include "base/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace lucebox::scripted {
namespace {

using server::Backend;
using server::Json;

struct Rule {
    std::vector<std::string> has, last, lacks;
    std::vector<std::size_t> asked;
    std::optional<std::string> say;
    std::string think;
    int pace = 0;
    std::filesystem::path until;
    std::size_t uses = 0;

    bool fits(std::string_view prompt, std::string_view message) {
        const auto in = [](std::string_view text) { return [text](const std::string& wanted) { return text.find(wanted) != std::string_view::npos; }; };
        if (!std::all_of(has.begin(), has.end(), in(prompt)) || !std::all_of(last.begin(), last.end(), in(message))) return false;
        if (std::any_of(lacks.begin(), lacks.end(), in(prompt))) return false;
        const std::size_t use = uses++;
        return asked.empty() || std::find(asked.begin(), asked.end(), use) != asked.end();
    }
};

Result<std::vector<Rule>> read_script(const std::filesystem::path& path) {
    LUCEBOX_TRY(const std::string text, read_text_file(path, 16u << 20));
    std::vector<Rule> rules;
    try {
        const Json script = Json::parse(text);
        for (const Json& entry : script.at("rules")) {
            Rule rule;
            rule.has = entry.value("has", rule.has);
            rule.last = entry.value("last", rule.last);
            rule.lacks = entry.value("lacks", rule.lacks);
            rule.asked = entry.value("asked", rule.asked);
            rule.think = entry.value("think", "");
            rule.pace = entry.value("pace", 0);
            if (entry.contains("until")) rule.until = path.parent_path() / entry["until"].get<std::string>();
            if (entry.contains("say")) rule.say = entry["say"];
            rules.push_back(std::move(rule));
        }
    } catch (const Json::exception& error) {
        return Error{ErrorKind::invalid_data, fmt::format("{}: {}", path.string(), error.what())};
    }
    return rules;
}

// Where the last message that isn't the answer to come begins; the families write it in their own ways.
std::string_view last_message(std::string_view prompt) {
    std::size_t begin = 0;
    for (const std::string_view mark : {"<|im_start|>user", "<|im_start|>tool", "<|turn>user", "<start_of_turn>user", "<|tool_response>", "<user>\n", "<tool_response>"})
        if (const std::size_t at = prompt.rfind(mark); at != std::string_view::npos) begin = std::max(begin, at);
    return prompt.substr(begin);
}

Result<text::Grammar::Pointer> only(std::string text) {
    text::ExpressionBuilder builder({});
    const std::uint32_t root = builder.new_rule();
    builder.define(root, builder.literal(std::move(text)));
    return text::Grammar::compile(builder, root);
}

class ScriptedBackend final : public Backend {
public:
    ScriptedBackend(std::shared_ptr<Backend> engine, std::vector<Rule> rules, const std::filesystem::path& prompts)
        : engine_(std::move(engine)), rules_(std::move(rules)) {
        if (!prompts.empty()) prompts_.open(prompts, std::ios::app);
    }

    Result<engine::RequestId> submit(engine::Request request, engine::OnEvent on_event) override {
        const std::string prompt = engine_->tokenizer().decode(request.prompt, true);
        LUCEBOX_TRY(Pace pace, script(request, prompt));
        if (pace.milliseconds == 0) return engine_->submit(std::move(request), std::move(on_event));
        return engine_->submit(std::move(request), [pace = std::move(pace), on_event = std::move(on_event)](auto&& event) {
            if (pace.until.empty() || !std::filesystem::exists(pace.until)) std::this_thread::sleep_for(std::chrono::milliseconds(pace.milliseconds));
            on_event(std::forward<decltype(event)>(event));
        });
    }
    void cancel(engine::RequestId id) override { engine_->cancel(id); }
    const engine::ModelInfo& model() const override { return engine_->model(); }
    const engine::Options& options() const override { return engine_->options(); }
    const engine::Memory& memory() const override { return engine_->memory(); }
    std::string_view device_name() const override { return engine_->device_name(); }
    engine::Stats stats() const override { return engine_->stats(); }
    std::optional<Error> failure() const override { return engine_->failure(); }
    const text::Tokenizer& tokenizer() const override { return engine_->tokenizer(); }
    bool has_chat_template() const override { return engine_->has_chat_template(); }
    std::string_view chat_template_source() const override { return engine_->chat_template_source(); }
    Result<std::string> render_chat(const text::Json& variables) const override { return engine_->render_chat(variables); }

private:
    struct Pace {
        int milliseconds = 0; // of each event
        std::filesystem::path until;
    };

    Result<Pace> script(engine::Request& request, const std::string& prompt) {
        const std::lock_guard lock(mutex_);
        const auto rule = std::find_if(rules_.begin(), rules_.end(), [&](Rule& one) { return one.fits(prompt, last_message(prompt)); });
        if (prompts_.is_open()) {
            prompts_ << fmt::format("===== {} tokens{}, rule {}\n{}\n", request.prompt.size(), request.grammar ? ", with a grammar" : "",
                                    rule == rules_.end() ? "none" : std::to_string(rule - rules_.begin()), prompt)
                     << std::flush;
        }
        if (rule == rules_.end()) return Pace{};
        Pace pace{rule->pace, rule->until};
        if (request.reasoning && (rule->say || !rule->think.empty())) {
            request.reasoning->budget = 0;
            request.reasoning->closing = engine_->tokenizer().encode(rule->think + "\n" + request.reasoning->close + "\n\n", {.parse_special = true});
        }
        if (rule->say) {
            LUCEBOX_TRY(request.grammar, only(*rule->say));
        }
        return pace;
    }

    const std::shared_ptr<Backend> engine_;
    std::mutex mutex_;
    std::vector<Rule> rules_;
    std::ofstream prompts_;
};

} // namespace

Result<std::shared_ptr<Backend>> make_scripted_backend(std::shared_ptr<Backend> engine, const std::filesystem::path& script,
                                                       const std::filesystem::path& prompts) {
    LUCEBOX_TRY(std::vector<Rule> rules, read_script(script));
    return std::shared_ptr<Backend>(std::make_shared<ScriptedBackend>(std::move(engine), std::move(rules), prompts));
}

} // namespace lucebox::scripted
