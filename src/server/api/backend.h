// What the API needs of an engine, so that it can be tested with a scripted one.
//
// All functions may be called from any thread. Events arrive on the backend's thread, as described in engine/engine.h.
#pragma once

#include "engine/engine.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lucebox::server {

class Backend {
public:
    virtual ~Backend() = default;

    virtual Result<engine::RequestId> submit(engine::Request request, engine::OnEvent on_event) = 0;
    virtual void cancel(engine::RequestId id) = 0;

    virtual const engine::ModelInfo& model() const = 0;
    virtual const engine::Options& options() const = 0;
    virtual const engine::Memory& memory() const = 0;
    virtual std::string_view device_name() const = 0;
    virtual engine::Stats stats() const = 0;
    // Of the device, after which nothing can be generated until the program starts again.
    virtual std::optional<Error> failure() const { return std::nullopt; }

    virtual const text::Tokenizer& tokenizer() const = 0;
    virtual bool has_chat_template() const = 0;
    virtual std::string_view chat_template_source() const = 0;
    virtual Result<std::string> render_chat(const text::Json& variables) const = 0;
};

std::shared_ptr<Backend> make_backend(std::unique_ptr<engine::Engine> engine);

} // namespace lucebox::server
