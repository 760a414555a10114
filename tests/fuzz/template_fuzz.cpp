// Any text as a chat template: refused with a line, or rendered within its budget over a conversation.
#include "text/chat_template.h"

#include <cstdint>
#include <cstdlib>

namespace {

using lucebox::text::ChatTemplate;
using lucebox::text::Json;
using lucebox::text::TemplateBudget;

void use(bool condition) {
    if (!condition) std::abort();
}

Json conversation() {
    return Json::parse(R"({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Wie geht's? 🦊"},
            {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [true, null, 2.5]}}}]},
            {"role": "tool", "content": "{\"z\": 3}", "tool_call_id": "a"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}}],
        "add_generation_prompt": true, "enable_thinking": false, "bos_token": "<s>", "eos_token": "</s>"})");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Json variables = conversation();
    const auto parsed = ChatTemplate::parse({reinterpret_cast<const char*>(data), size});
    if (!parsed) {
        use(!parsed.error().message.empty());
        return 0;
    }
    // A tenth of what a request may spend, so that many templates are tried.
    TemplateBudget budget;
    budget.steps /= 10;
    budget.output_bytes = 1 << 20;
    const auto text = parsed->render(variables, budget);
    use(text ? text->size() <= budget.output_bytes : !text.error().message.empty());
    return 0;
}
