// A model's output, as it arrives, taken apart into reasoning, content and tool calls.
//
//     OutputParser parser(markers, tools, starts_inside);
//     for each piece of text: parser.push(piece, events);
//     parser.finish(stopped, events);
//
// Calls are recognised in every syntax that the families use or drift into, not only in the model's own:
//   <tool_call><function=N><parameter=K>V</parameter></function></tool_call>   and bare <function=N>   (Qwen)
//   <tool_call>{"name":N,"arguments":{..}}</tool_call>, <tool_code>, <function_call>, and bare JSON    (Hermes and others)
//   <tool_call>N<arg_key>K</arg_key><arg_value>V</arg_value></tool_call>       and bare N<arg_key>     (Laguna, GLM)
//   <|tool_call>call:N{k:<|"|>v<|"|>}<tool_call|>                              and bare call:N{        (Gemma 4)
//   <invoke name="N"><parameter name="K">V</parameter></invoke>, <N><parameter=K>V</parameter></N>, <function=N(k="v")>
// Arguments come out in fragments of one JSON object, typed by the tool's schema. Text that only looks like a call, or
// names a tool that was not declared, comes out as content; nothing is ever swallowed. The time is linear in the text,
// whatever it holds. The result does not depend on how the text was cut into pieces. One thread.
#pragma once

#include "text/tools/tool_set.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::text {

struct OutputEvent {
    enum class Kind {
        reasoning,
        content,
        call_begin,     // text: the tool's name
        call_arguments, // text: a fragment of the arguments' JSON
        call_end,       // the fragments make a whole JSON object
        call_broken,    // text: all that the model wrote of the call, which will not be completed
    };
    Kind kind;
    std::string text;
    std::size_t call = 0; // which one, counted from 0
};

// How a family marks its reasoning; empty markers: it has none.
struct ReasoningMarkers {
    std::string open = "<think>", close = "</think>";
    bool anywhere = false; // may come again behind content (Gemma 4's channels), not only in front of it
};

class CallScanner;
enum class Found;

class OutputParser {
public:
    // `starts_inside`: the prompt has opened the reasoning. `tools` must outlive the parser; none declared: no calls.
    OutputParser(ReasoningMarkers markers, const ToolSet& tools, bool starts_inside);
    OutputParser(OutputParser&&) noexcept;
    ~OutputParser();

    void push(std::string_view text, std::vector<OutputEvent>& events);
    // `stopped`: the model ended by itself, so that a call without its last closing tag counts as whole.
    void finish(bool stopped, std::vector<OutputEvent>& events);

    bool in_reasoning() const { return mode_ == Mode::reasoning; }

private:
    enum class Mode { start, reasoning, content, call, after_call };
    using Events = std::vector<OutputEvent>;

    bool step(bool last, Events& events); // false: more text is needed
    bool step_start(bool last, Events& events);
    bool step_reasoning(bool last, Events& events);
    bool step_content(bool last, Events& events);
    bool step_call(bool last, Events& events);
    bool step_after_call(bool last);
    void give_up_call(Events& events);
    Found open_call(std::string_view text, char previous, bool begun, bool last);
    Found open_named_call(std::string_view text, bool line_start);
    Found open_json_call(std::string_view text);
    Found begin_call(std::unique_ptr<CallScanner> scanner, std::size_t marker_bytes);
    std::string_view without_leading_space(std::string_view text, bool is_content);
    void emit(OutputEvent::Kind kind, std::string_view text, Events& events);
    std::string_view rest() const { return std::string_view(buffer_).substr(at_); }

    const ReasoningMarkers markers_;
    const ToolSet& tools_;
    Mode mode_;
    std::string buffer_;            // what is not decided yet begins at at_, or at call_begin_ in a call
    std::size_t at_ = 0;
    std::string space_;             // white space that is dropped if nothing but a call or the end follows
    bool trims_ = false;            // white space in front of what comes next is dropped
    bool content_begun_ = false, reasoning_begun_ = false, in_fence_ = false;
    char previous_ = '\n';          // the last character of content that was emitted
    std::unique_ptr<CallScanner> scanner_;
    const Tool* named_ = nullptr;   // the tool whose name opened the call
    std::size_t call_begin_ = 0;    // in buffer_
    std::size_t marker_bytes_ = 0;  // of what opened the call
    bool announced_ = false;        // its call_begin is out
    bool stopped_ = false;
    std::size_t calls_ = 0;
};

} // namespace lucebox::text
