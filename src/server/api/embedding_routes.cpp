// POST /v1/embeddings: a text's pooled final hidden states, in OpenAI's shape.
//
// A request may bring more texts than the engine's line holds: as many are submitted as run side by side, and the next
// when one is done. Submitting and writing the answer are a worker's: the engine's thread must not wait for either.
#include "base/base64.h"
#include "server/api/api_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>

namespace lucebox::server {

namespace {

using StatePointer = std::shared_ptr<Api::State>;
using Tokens = std::vector<text::TokenId>;

constexpr std::size_t kMostInputs = 2048; // as with OpenAI

struct EmbeddingRequest {
    std::vector<TextOrTokens> inputs;
    std::string model;
    engine::Pooling pooling = engine::Pooling::mean;
    bool as_base64 = false;
};

Answer<EmbeddingRequest> parse_embedding_request(const Json& body, const RequestLimits& limits, const engine::ModelInfo& info) {
    Fields fields(body);
    EmbeddingRequest request;
    request.pooling = info.pooling;
    request.model = fields.string("model").value_or("");
    request.inputs = read_texts(fields, "input", kMostInputs, limits.prompt_tokens);
    const std::string format = fields.string("encoding_format").value_or("float");
    if (format != "float" && format != "base64") fields.refuse("encoding_format", "encoding_format must be float or base64.");
    request.as_base64 = format == "base64";
    if (const auto pooling = fields.string("pooling")) {
        if (*pooling != "mean" && *pooling != "last") fields.refuse("pooling", "pooling must be mean or last.");
        request.pooling = *pooling == "last" ? engine::Pooling::last : engine::Pooling::mean;
    }
    // Cut to fewer numbers, the vectors of a model that was not trained for that mean little.
    const auto dimensions = fields.integer("dimensions", 1, INT32_MAX);
    if (dimensions && static_cast<std::size_t>(*dimensions) != info.width)
        fields.fail(unsupported_field("dimensions", fmt::format("dimensions must be {}, the width of this model, or absent.", info.width)));
    if (fields.error()) return *fields.error();
    return request;
}

Answer<std::vector<Tokens>> tokens_of(EmbeddingRequest& request, const ReadyModel& model) {
    const text::Tokenizer& tokenizer = model.backend->tokenizer();
    std::vector<Tokens> inputs;
    for (TextOrTokens& input : request.inputs) {
        Tokens tokens;
        if (auto* ids = std::get_if<Tokens>(&input)) {
            auto checked = model.prompts.completion(std::move(*ids), "input");
            if (auto* error = std::get_if<ApiError>(&checked)) return std::move(*error);
            tokens = std::move(std::get<Tokens>(checked));
        } else { // a text is data: nothing in it is a control token
            const auto& text = std::get<std::string>(input);
            if (text.empty()) return bad_field("input", "input holds an empty text.");
            tokens = tokenizer.encode(text, {.add_special = true, .parse_special = false});
        }
        const std::size_t context = model.backend->model().context;
        if (tokens.size() > context) {
            ApiError error = context_exceeded(context, tokens.size(), 0);
            error.message = fmt::format("This model's maximum context length is {} tokens. However, input {} has {} tokens.", context,
                                        inputs.size(), tokens.size());
            error.param = "input";
            return error;
        }
        inputs.push_back(std::move(tokens));
    }
    return inputs;
}

class Embeddings : public std::enable_shared_from_this<Embeddings> {
public:
    Embeddings(StatePointer state, std::shared_ptr<Responder> responder, const ReadyModel& model, EmbeddingRequest request,
               std::vector<Tokens> inputs, Headers headers)
        : state_(std::move(state)), responder_(std::move(responder)), backend_(model.backend), request_(std::move(request)),
          inputs_(std::move(inputs)), headers_(std::move(headers)), window_(model.backend->options().sequences), vectors_(inputs_.size()) {
        if (request_.model.empty()) request_.model = model.name;
    }

    void start() {
        responder_->on_disconnect([weak = weak_from_this()] {
            if (const auto self = weak.lock()) self->give_up();
        });
        submit_more();
    }

private:
    void submit_more() {
        for (;;) {
            engine::Request request;
            std::size_t index = 0;
            {
                const std::lock_guard lock(mutex_);
                if (ended_ || running_.size() >= std::max<std::size_t>(window_, 1) || next_ == inputs_.size()) return;
                index = next_++;
                request.prompt = std::move(inputs_[index]);
                running_[index] = 0;
            }
            request.pooling = request_.pooling;
            request.client = responder_->request().client;
            const auto backend = backend_.lock();
            if (!backend) return fail(from_error(Error{ErrorKind::unavailable, "the server is shutting down"}));
            const auto id = backend->submit(std::move(request), [self = shared_from_this(), index](engine::Event&& event) {
                if (auto* finished = std::get_if<engine::Finished>(&event)) self->take(index, std::move(*finished));
            });
            if (!id) return fail(id.error().kind == ErrorKind::unavailable ? queue_full(id.error().message) : from_error(id.error(), "input"));
            const std::lock_guard lock(mutex_);
            if (const auto at = running_.find(index); at != running_.end()) at->second = *id;
            if (ended_) backend->cancel(*id); // a disconnect before the id was known could not
        }
    }

    // On the engine's thread.
    void take(std::size_t index, engine::Finished&& finished) {
        if (finished.reason != engine::FinishReason::stop) {
            return fail(from_error(finished.error.value_or(Error{ErrorKind::unavailable, "The request was cancelled by the server."})));
        }
        state_->metrics.add_embedding(finished.prompt_tokens);
        bool is_whole = false;
        {
            const std::lock_guard lock(mutex_);
            running_.erase(index);
            vectors_[index] = std::move(finished.embedding);
            usage_.prompt_tokens += finished.prompt_tokens;
            usage_.processed_tokens += finished.prompt_tokens;
            if (ended_) return;
            is_whole = next_ == inputs_.size() && running_.empty();
            ended_ = is_whole;
        }
        const auto go_on = [self = shared_from_this(), is_whole] { is_whole ? self->answer() : self->submit_more(); };
        if (!state_->post(go_on)) is_whole ? answer() : fail(queue_full());
    }

    void answer() {
        std::string body = R"({"object":"list","data":[)";
        for (std::size_t i = 0; i < vectors_.size(); ++i) {
            fmt::format_to(std::back_inserter(body), R"({}{{"object":"embedding","index":{},"embedding":)", i == 0 ? "" : ",", i);
            append(body, vectors_[i]);
            body += '}';
        }
        const std::string usage = to_text({{"prompt_tokens", usage_.prompt_tokens}, {"total_tokens", usage_.prompt_tokens}});
        body += fmt::format(R"(],"model":{},"usage":{}}})", to_text(request_.model), usage);
        state_->note_usage(responder_->request().id, usage_);
        headers_.emplace_back("Content-Type", "application/json");
        responder_->respond(200, std::move(headers_), std::move(body));
    }

    void append(std::string& body, std::span<const float> vector) const {
        static_assert(std::endian::native == std::endian::little); // as clients read it
        if (request_.as_base64) {
            body += '"' + base64(std::as_bytes(vector)) + '"';
            return;
        }
        body += '[';
        for (std::size_t i = 0; i < vector.size(); ++i) fmt::format_to(std::back_inserter(body), "{}{}", i == 0 ? "" : ",", vector[i]);
        body += ']';
    }

    bool give_up() {
        std::vector<engine::RequestId> ids;
        {
            const std::lock_guard lock(mutex_);
            if (ended_) return false;
            ended_ = true;
            for (const auto& [index, id] : running_) ids.push_back(id);
        }
        if (const auto backend = backend_.lock())
            for (const auto id : ids)
                if (id != 0) backend->cancel(id);
        return true;
    }

    void fail(const ApiError& error) {
        if (give_up()) send_error(*responder_, error);
    }

    const StatePointer state_;
    const std::shared_ptr<Responder> responder_;
    const std::weak_ptr<Backend> backend_; // its last reference must not fall on its own thread
    EmbeddingRequest request_;
    std::vector<Tokens> inputs_;
    Headers headers_;
    const std::size_t window_; // texts in the engine at a time

    std::mutex mutex_;
    std::unordered_map<std::size_t, engine::RequestId> running_; // by input; 0: not known yet
    std::vector<std::vector<float>> vectors_;
    Usage usage_;
    std::size_t next_ = 0;
    bool ended_ = false; // answered, refused, or nobody listens
};

void embeddings(const StatePointer& state, const std::shared_ptr<Responder>& responder, const ReadyModel& model, const Json& body) {
    auto parsed = parse_embedding_request(body, state->options.limits, model.backend->model());
    if (const auto* error = std::get_if<ApiError>(&parsed)) return send_error(*responder, *error);
    auto& request = std::get<EmbeddingRequest>(parsed);
    auto inputs = tokens_of(request, model);
    if (const auto* error = std::get_if<ApiError>(&inputs)) return send_error(*responder, *error);
    static constexpr auto read = std::to_array<std::string_view>({"input", "model", "encoding_format", "dimensions", "pooling"});
    std::make_shared<Embeddings>(state, responder, model, std::move(request), std::move(std::get<std::vector<Tokens>>(inputs)),
                                 told_headers(ignored_fields(body, read)))
        ->start();
}

} // namespace

void add_embedding_routes(const AddRoute& add, const StatePointer& state) {
    for (const char* path : {"/v1/embeddings", "/embeddings"})
        add("POST", path,
            [state](const Request&, std::shared_ptr<Responder> responder) {
                state->with_body(std::move(responder), [state](const auto& keep, const ReadyModel& model, const Json& body) {
                    embeddings(state, keep, model, body);
                });
            },
            {});
}

} // namespace lucebox::server
