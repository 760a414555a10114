// One call being read from a stream. Private to text/tools.
//
// A scanner is given what is not consumed yet, and says how much of it it takes; what it leaves (a marker that may be
// unfinished, never more than a few hundred bytes) comes again with more behind it.
#pragma once

#include "text/tools/tool_set.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lucebox::text {

constexpr std::size_t most_name_bytes = 256; // of tools and parameters in a call

struct CallOutput {
    std::string name;      // set once, when it is known to be a declared tool
    std::string arguments; // new text of the arguments' JSON
};

class CallScanner {
public:
    enum class State {
        more,   // wants more text
        done,   // the call is whole; what is left over is not part of it
        failed, // this is no call
    };
    virtual ~CallScanner() = default;
    // `last`: no more text will come, and `stopped` says whether the model ended by itself.
    virtual State scan(std::string_view text, bool last, bool stopped, std::size_t& consumed, CallOutput& out) = 0;
};

// What of `marker` stands at the beginning of `text`.
enum class Found { no, part, whole };
Found found_at_start(std::string_view text, std::string_view marker);

std::size_t skip_space(std::string_view text, std::size_t at);

// <function=N>..., N<arg_key>..., <invoke name="N">..., <N><parameter=...
struct TagStyle {
    std::string_view key_open, key_close;     // around a parameter's name
    std::string_view value_open, value_close; // around its value; an empty value_open: the value follows the name at once
    std::string call_close;                   // ends the call
    std::string other_close = {};             // ends it too
    std::string_view wrapper_close = {};      // follows the end of a whole call, for telling an end from a value's text
    bool trims_newlines = true;               // one newline at each end of a value is not part of it
};
TagStyle qwen_style();
TagStyle laguna_style();
TagStyle invoke_style();

// The text behind the tool's name, which is known. `name_end`: what has to follow the name first.
std::unique_ptr<CallScanner> make_tagged_call(const Tool& tool, TagStyle style);
// The text behind "<function=", "<invoke name=\"" or "<tool_call>": name first, then as above.
std::unique_ptr<CallScanner> make_function_call(const ToolSet& tools);
std::unique_ptr<CallScanner> make_invoke_call(const ToolSet& tools);
std::unique_ptr<CallScanner> make_laguna_call(const ToolSet& tools);
// The text behind "<tool_call>": whichever of the forms above, or JSON.
std::unique_ptr<CallScanner> make_wrapped_call(const ToolSet& tools);
// JSON from its "{" on; white space may stand in front. `bare`: nothing announced a call, so the object may also be the
// arguments of the only tool.
std::unique_ptr<CallScanner> make_json_call(const ToolSet& tools, bool bare);
// The text behind "call:".
std::unique_ptr<CallScanner> make_gemma_call(const ToolSet& tools);

} // namespace lucebox::text
