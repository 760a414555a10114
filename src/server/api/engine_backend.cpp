#include "server/api/backend.h"

namespace lucebox::server {

namespace {

class EngineBackend final : public Backend {
public:
    explicit EngineBackend(std::unique_ptr<engine::Engine> engine) : engine_(std::move(engine)) {}

    Result<engine::RequestId> submit(engine::Request request, engine::OnEvent on_event) override {
        return engine_->submit(std::move(request), std::move(on_event));
    }
    void cancel(engine::RequestId id) override { engine_->cancel(id); }

    const engine::ModelInfo& model() const override { return engine_->model(); }
    const engine::Options& options() const override { return engine_->options(); }
    const engine::Memory& memory() const override { return engine_->memory(); }
    std::string_view device_name() const override { return engine_->device_name(); }
    engine::Stats stats() const override { return engine_->stats(); }
    std::optional<Error> failure() const override { return engine_->failure(); }

    const text::Tokenizer& tokenizer() const override { return engine_->tokenizer(); }
    bool has_chat_template() const override { return engine_->chat_template() != nullptr; }
    std::string_view chat_template_source() const override { return engine_->chat_template_source(); }
    Result<std::string> render_chat(const text::Json& variables) const override {
        const text::ChatTemplate* chat_template = engine_->chat_template();
        if (chat_template == nullptr) return Error{ErrorKind::unsupported, "The model has no chat template."};
        return chat_template->render(variables);
    }

private:
    std::unique_ptr<engine::Engine> engine_;
};

} // namespace

std::shared_ptr<Backend> make_backend(std::unique_ptr<engine::Engine> engine) {
    return std::make_shared<EngineBackend>(std::move(engine));
}

} // namespace lucebox::server
