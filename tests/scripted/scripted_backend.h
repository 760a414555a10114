// TESTS ONLY: an engine whose answers are written down beforehand.
//
// A small model writes no software, so nobody can see from it whether an agent gets through a task. Here the answer to a
// prompt is looked up in a script and held to with the engine's own means: thoughts are a reasoning whose budget is used
// up and whose closing words they are, the rest is a grammar that has only this text. All else is as always: the model
// runs, the sampler chooses tokens under the mask, the text goes through the parser and the stream.
//
// A script is JSON, {"rules": [rule...]}; the first rule that fits a prompt is the answer:
//   has    strings that the prompt holds           last   strings behind the beginning of its last message
//   lacks  strings that it doesn't                 asked  the numbers of this rule's uses for which it fits, from 0
//   say    the answer's text, in the model's own syntax for calls
//   think  what is thought before, if the prompt opens a thought
//   pace   milliseconds that each piece of the prompt and of the answer takes; the engine waits meanwhile
//   until  a file beside the script: once it is there, pieces take no time any more
// Where no rule fits, and where the request has a grammar and the rule no "say", the model answers itself.
#pragma once

#include "server/api/backend.h"
#include "server/api/json.h"

#include <filesystem>
#include <memory>
#include <string>

namespace lucebox::scripted {

// `prompts`: a file to which each prompt and what fits is appended; empty: none.
Result<std::shared_ptr<server::Backend>> make_scripted_backend(std::shared_ptr<server::Backend> engine, const std::filesystem::path& script,
                                                               const std::filesystem::path& prompts);

} // namespace lucebox::scripted
