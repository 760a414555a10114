#include "text/chat_template.h"

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

#include <new>

namespace lucebox::text {
namespace {

Error to_error(const jinja::Failure& failure) {
    Error error{failure.kind, "chat template, line " + std::to_string(failure.line) + ": " + failure.message};
    if (failure.kind == ErrorKind::unsupported) {
        error.hint = "The template uses a feature that is not supported here; use another chat template.";
    }
    return error;
}

} // namespace

struct ChatTemplate::State {
    std::unique_ptr<jinja::Template> parsed;
};

ChatTemplate::ChatTemplate(std::unique_ptr<State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string_view source) {
    try {
        auto state = std::make_unique<State>();
        state->parsed = jinja::parse_template(source);
        return ChatTemplate(std::move(state));
    } catch (const jinja::Failure& failure) {
        return to_error(failure);
    } catch (const std::bad_alloc&) {
        return Error{ErrorKind::out_of_memory, "no memory left to read the chat template"};
    }
}

Result<std::string> ChatTemplate::render(const Json& variables, const TemplateBudget& budget) const {
    if (!variables.is_object()) {
        return Error{ErrorKind::internal, "the variables of a chat template are not a JSON object"};
    }
    try {
        return jinja::Interpreter(*state_->parsed, budget).render(variables);
    } catch (const jinja::Failure& failure) {
        return to_error(failure);
    } catch (const std::bad_alloc&) {
        return Error{ErrorKind::out_of_memory, "no memory left to render the chat template"};
    }
}

} // namespace lucebox::text
