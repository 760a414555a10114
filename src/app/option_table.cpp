// Every command and every setting of the program, in one place: flags, LUCEBOX_* variables, configuration keys, help.
#include "app/commands.h"

#include <array>

namespace lucebox::app {
namespace {

using enum OptionType;

constexpr std::array commands{
    CommandSpec{"serve", "", "Serve a model over HTTP (OpenAI-compatible)."},
    CommandSpec{"run", "", "Chat with a model in this terminal."},
    CommandSpec{"check", "[FILE]", "Say what a model file is, and whether it fits this machine; without a file, whether the machine is ready."},
    CommandSpec{"models", "[ACTION] [NAME]...", "List models (list), or change which are here (fetch, download, activate or use, verify, import, rm)."},
    CommandSpec{"generate", "", "Continue token ids (.npy) or a prompt; prints ids or text."},
    CommandSpec{"logits", "", "Write the logits of every position of a token file (.npy)."},
    CommandSpec{"tokenize", "", "Turn text from --text or standard input into token ids."},
    CommandSpec{"draft", "ACTION", "convert IN OUT: write a DFlash draft as GGUF. logits: what a draft computes, as .npy."},
    CommandSpec{"quantize", "IN OUT", "Write a GGUF with smaller weights."},
    CommandSpec{"bench", "[speculation|cycle]",
                "Measure speed against this machine's memory; or shapes of speculation against plain decoding; or what their steps consist of."},
    CommandSpec{"config", "[ACTION] [KEY[=VALUE]]...", "Show settings and where they came from (list, get), or change the file (set, unset, import, path, edit, reset, restore)."},
    CommandSpec{"autotune", "", "Say what this machine's GPU can serve, and why; or measure what is fastest on it (--sweep)."},
    CommandSpec{"smoke", "", "Ask a running server what a client would, and say whether it answers as it should."},
    CommandSpec{"connect", "CLIENT", "Show the settings with which claude, codex, opencode, aider or openwebui finds the running server."},
    CommandSpec{"claude", "[-- ARGUMENT...]", "Start Claude Code with the running server behind it."},
    CommandSpec{"codex", "[-- ARGUMENT...]", "Start Codex with the running server behind it."},
    CommandSpec{"top", "", "Watch what the running server does."},
    CommandSpec{"healthcheck", "", "Ask the server on this machine whether it is ready; for containers."},
    CommandSpec{"version", "", "Say which build this is."},
};

constexpr std::string_view with_model = "serve run generate logits draft tokenize bench autotune config";
constexpr std::string_view with_engine = "serve run config";
constexpr std::string_view with_runner = "serve run generate logits draft bench config";
constexpr std::string_view with_cache = "serve run generate logits draft bench check config";
constexpr std::string_view with_sequences = "serve check config";
constexpr std::string_view with_server = "serve config";
constexpr std::string_view with_port = "serve smoke connect claude codex top healthcheck config";
constexpr std::string_view with_keys = "serve smoke connect claude codex top config";
constexpr std::string_view asks_server = "smoke connect claude codex top";
constexpr std::string_view with_sampling = "run generate";

constexpr std::array options{
    OptionSpec{"model", path, "model", "", "", with_model,
               "Model file (GGUF) or the name of a known model; the default model if absent."},
    OptionSpec{"models", text, "model", "", "", "", "Folders to look for models in, separated by colons."},
    OptionSpec{"device", choice, "model", "auto", "auto|cpu|cuda", with_runner, "Where to compute."},
    OptionSpec{"threads", integer, "model", "0", "0..1024", with_runner, "CPU threads; 0: one for each core."},
    OptionSpec{"reference", boolean, "model", "false", "", with_runner, "Use the plain kernels that the fast ones are checked against."},
    OptionSpec{"context", integer, "model", "0", "0..16777216", "serve run check draft config",
               "Tokens a conversation may hold; 0: what suits the card and the model (on a CPU at most 8192). (draft logits: tokens before the block.)"},
    OptionSpec{"cache-type-k", text, "model", "auto", "", with_cache,
               "Type of cached keys and values: f16, q8_0 (half the memory), or auto: f16, and q8_0 where only so the context fits."},
    OptionSpec{"cache-type-v", text, "model", "auto", "", with_cache,
               "Type of cached values, for those who set both: they have the type of the keys."},
    OptionSpec{"sequences", integer, "model", "4", "1..256", with_sequences, "Requests that run side by side; fewer, unless they were asked for, if only so many fit."},
    OptionSpec{"vram", number, "model", "", "0..4096", "check autotune", "Plan for a card of this many GiB, which need not be here."},

    OptionSpec{"draft", path, "speculation", "", "", "serve run generate draft bench autotune config",
               "DFlash draft of the model (GGUF or safetensors), a folder to look in, or none; "
               "else one that fits, beside the model, in --models or with the program."},
    OptionSpec{"draft-head", integer, "speculation", "0", "0..16777216", "serve run generate bench config",
               "The draft guesses among the first so many tokens of the vocabulary, its common ones, and reads that much less; 0: among all."},
    OptionSpec{"speculation", text, "speculation", "auto", "", "serve run generate bench config",
               "off, auto, chain:K or tree:B: how many tokens are guessed a step. The text is the same with any."},

    OptionSpec{"host", text, "server", "127.0.0.1", "", with_server, "Address to listen on."},
    OptionSpec{"port", integer, "server", "8080", "0..65535", with_port, "Port to listen on; 0: any free one."},
    OptionSpec{"api-keys", list, "server", "", "", with_keys, "Keys of which a client must show one.", true},
    OptionSpec{"api-key-file", path, "server", "", "", with_keys, "File with one key a line."},
    OptionSpec{"allowed-hosts", list, "server", "", "", with_server,
               "Names besides localhost under which the server may be addressed."},
    OptionSpec{"allowed-origins", list, "server", "", "", with_server, "Web origins whose pages may call the server."},
    OptionSpec{"queue", integer, "server", "64", "0..100000", with_server, "Requests that may wait; more are refused."},
    OptionSpec{"client-queue", integer, "server", "0", "0..100000", with_server,
               "Of these, requests of one client (a key, or an address where no key is needed); 0: all."},
    OptionSpec{"client-sequences", integer, "server", "0", "0..256", with_server, "Requests of one client that run side by side; 0: all."},
    OptionSpec{"max-body", bytes, "server", "32M", "1K..", with_server, "Largest request body."},
    OptionSpec{"model-name", text, "server", "", "", with_server, "Name under which clients know the model; the file's own if absent."},
    OptionSpec{"default-max-tokens", integer, "server", "0", "0..16777216", with_server,
               "Length of an answer where a request names none; 0: the model card's, else what the context holds."},
    OptionSpec{"think-max-tokens", integer, "server", "0", "0..16777216", with_server,
               "Longest thought, whatever the model's card allows; 0: as the card says."},
    OptionSpec{"model-cards-dir", path, "server", "", "", with_server,
               "Folder of model cards (sampling and budgets); before those beside the model and those built in."},
    OptionSpec{"volatile-lines", list, "server", "x-anthropic-billing-header:", "", with_server,
               "Beginnings of lines that change with every request: left out of system prompts, so that prefixes are found again."},
    OptionSpec{"drain", duration, "server", "8s", "0..", with_server, "How long requests may finish after SIGTERM."},
    OptionSpec{"log-level", choice, "log", "info", "debug|info|warning|error|off", "", "What is logged."},
    OptionSpec{"log-prompts", boolean, "log", "false", "", with_server, "Log what clients ask, too: everything that people write, in clear text."},
    OptionSpec{"log-format", choice, "log", "text", "text|json", "", "How log lines look."},

    OptionSpec{"temperature", number, "sampling", "", "0..", with_sampling, "Randomness; 0 takes the best token."},
    OptionSpec{"top-k", integer, "sampling", "0", "0..", with_sampling, "Keep the k best tokens; 0: all."},
    OptionSpec{"top-p", number, "sampling", "1", "0..1", with_sampling, "Keep the best tokens of this much probability."},
    OptionSpec{"min-p", number, "sampling", "0", "0..1", with_sampling,
               "Keep tokens this likely relative to the best."},
    OptionSpec{"repetition-penalty", number, "sampling", "1", "0..", with_sampling, "Weakens tokens already seen; 1: off."},
    OptionSpec{"frequency-penalty", number, "sampling", "0", "-2..2", with_sampling, "Weakens tokens by their count."},
    OptionSpec{"presence-penalty", number, "sampling", "0", "-2..2", with_sampling, "Weakens tokens generated before."},
    OptionSpec{"seed", integer, "sampling", "", "", with_sampling, "Same seed, same text; random if absent."},
    OptionSpec{"max-tokens", integer, "sampling", "256", "1..", with_sampling, "Tokens to generate at most."},
    OptionSpec{"ignore-eos", boolean, "sampling", "false", "", "generate", "Go on behind the end of the answer."},
    OptionSpec{"system", text, "sampling", "", "", "run", "Instructions that open the conversation."},
    OptionSpec{"stats", boolean, "sampling", "false", "", "run",
               "Show what speculation does: on a terminal, text that was guessed is green and the title tells the tokens a step so far; each answer ends with them."},

    OptionSpec{"tokens", path, "data", "", "", "logits generate draft", "Token ids, an integer .npy array."},
    OptionSpec{"prompt", text, "data", "", "", "run generate", "Text to answer (run) or continue (generate)."},
    OptionSpec{"text", text, "data", "", "", "tokenize", "Text to tokenize; standard input if absent."},
    OptionSpec{"special", boolean, "data", "false", "", "tokenize", "Read control tokens written in the text as such."},
    OptionSpec{"out", path, "data", "", "", "logits draft", "File to write, float32 .npy [positions, vocabulary]."},
    OptionSpec{"rows-per-step", integer, "data", "256", "1..4096", "logits",
               "Tokens fed at a time; up to 64 is the decoding path."},
    OptionSpec{"type", text, "data", "Q4_K_M", "", "quantize draft", "Target: a tensor type (Q8_0, Q4_0, Q4_K, Q6_K) or a mix (Q4_K_M)."},
    OptionSpec{"prompt-tokens", integer, "bench", "512", "1..", "bench", "Length of the measured prompt."},
    OptionSpec{"decode-tokens", integer, "bench", "128", "1..", "bench autotune", "Length of the measured answer."},
    OptionSpec{"rewrite-lines", integer, "bench", "0", "0..100000", "bench",
               "bench speculation: instead of twelve tasks, the rewriting of a file with this many lines."},
    OptionSpec{"repetitions", integer, "bench", "5", "1..1000", "bench", "How often each is measured."},
    OptionSpec{"prompts", list, "bench", "", "", "bench", "Further lengths of prompts to measure: 512,2048,8192."},
    OptionSpec{"contexts", list, "bench", "", "", "bench", "Further contexts to decode behind: 8192,32768."},
    OptionSpec{"rows", list, "bench", "", "", "bench", "Steps of so many rows to measure, as a chain and as a tree: 1,16,64. bench cycle: the draft's block and twice as many, if absent."},
    OptionSpec{"explain", boolean, "bench", "false", "", "bench", "Say where a decoded token's time goes, by families of kernels."},
    OptionSpec{"report", path, "bench", "", "", "bench autotune", "File to write the figures to, as JSON."},
    OptionSpec{"sweep", boolean, "bench", "false", "", "autotune",
               "Measure candidates with real servers, one after the other, and keep the settings that decode fastest."},
    OptionSpec{"candidates", list, "bench", "", "", "autotune",
               "What to measure instead of the tier's: speculation=off,speculation=tree:16+context=8192."},
    OptionSpec{"url", text, "smoke", "", "", asks_server, "Server to ask; the one on this machine if absent."},
    OptionSpec{"timeout", duration, "smoke", "60s", "1s..", asks_server, "How long one answer may take."},
    OptionSpec{"tools", boolean, "smoke", "true", "", "smoke", "Ask for a tool call too, where the server has tools."},
    OptionSpec{"write", boolean, "connect", "false", "", "connect", "Write the settings to the file of their own that the client reads here, if it is not there yet."},
    OptionSpec{"shown-url", text, "connect", "", "", "connect serve", "The server's address as clients see it, where they see another than this command does."},
    OptionSpec{"interval", duration, "top", "1s", "100ms..", "top", "How often it looks."},
    OptionSpec{"once", boolean, "top", "false", "", "top", "Look once, without drawing over it."},
    OptionSpec{"dry-run", boolean, "import", "false", "", "config", "config import: say what would be written, and write nothing."},
    OptionSpec{"overwrite", boolean, "import", "false", "", "config", "config import: replace keys that are set, too."},
    OptionSpec{"json", boolean, "output", "false", "", "check models generate tokenize bench config autotune version",
               "Print JSON for programs."},
};

} // namespace

std::span<const CommandSpec> command_table() { return commands; }
std::span<const OptionSpec> option_table() { return options; }

} // namespace lucebox::app
