#include "api_fixture.h"

#include <filesystem>
#include <fstream>

namespace lucebox::server {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class InfoApi : public ApiTest {};

TEST_F(InfoApi, HealthTellsTheProgressUntilTheModelIsThere) {
    start(false);
    api->set_progress(0.25);
    for (const char* path : {"/health", "/ready"}) {
        const auto response = get(path);
        EXPECT_EQ(response.status, 503);
        EXPECT_EQ(json(response), Json::parse(R"({"status":"loading model","progress":0.25})"));
    }
    api->set_ready(backend);
    const auto response = get("/health");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(json(response), Json::parse(R"({"status":"ok"})"));
}

TEST_F(InfoApi, WhatNeedsTheModelAnswersModelLoading) {
    start(false);
    for (const auto& response :
         {post("/v1/chat/completions", chat_body()), post("/v1/completions", R"({"prompt":"x"})"),
          post("/tokenize", R"({"content":"x"})"), get("/v1/models"), get("/v1/models/fake-model")}) {
        EXPECT_EQ(response.status, 503);
        EXPECT_NE(response.header("retry-after"), "");
        const Json error = json(response)["error"];
        EXPECT_EQ(error["code"], "model_loading");
        EXPECT_EQ(error["type"], "server_error");
    }
    EXPECT_EQ(get("/props").status, 200);
    EXPECT_EQ(get("/metrics").status, 200);
}

TEST_F(InfoApi, AModelThatFailedToLoadIsSaidSo) {
    start(false);
    api->set_failed({ErrorKind::invalid_data, "the file is cut off"});
    EXPECT_EQ(get("/health").status, 503);
    EXPECT_THAT(get("/health").body, HasSubstr("the file is cut off"));
    EXPECT_EQ(json(chat())["error"]["code"], "model_failed");
}

TEST_F(InfoApi, ADeviceThatFailedIsNotHealthy) {
    start();
    EXPECT_EQ(get("/health").status, 200);
    backend->device_failure = Error{ErrorKind::unavailable, "the GPU fell off the bus"};
    EXPECT_EQ(get("/health").status, 503);
    EXPECT_EQ(json(get("/ready"))["message"], "the GPU fell off the bus");
}

TEST_F(InfoApi, StatusIsStreamedWhenItChangesAndTheStreamEndsWhenTheServerDrains) {
    options.status_interval = 5ms;
    options.heartbeat = 40ms;
    start(false);
    RawClient client(server->port());
    client.send("GET /status/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ASSERT_TRUE(client.receive_until("event: status\ndata: "));
    ASSERT_TRUE(client.receive_until("\"phase\":\"loading\""));
    ASSERT_TRUE(client.receive_until(": keep-alive\n\n")); // nothing changes
    backend->generated = 7;
    api->set_ready(backend);
    ASSERT_TRUE(client.receive_until("\"phase\":\"idle\""));
    backend->generated = 12;
    ASSERT_TRUE(client.receive_until("event: token\ndata: {\"tokens\":5}\n\n"));
    RawClient leaver(server->port()); // costs nothing
    leaver.send("GET /status/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ASSERT_TRUE(leaver.receive_until("event: status"));
    leaver.close();
    server->stop_accepting();
    EXPECT_TRUE(server->wait_until_idle(5s));
    const auto response = client.response();
    EXPECT_EQ(response.header("content-type"), "text/event-stream");
    EXPECT_EQ(response.body.find("Hi"), std::string::npos);
}

TEST_F(InfoApi, ListsTheModelAndItsAliases) {
    options.aliases = {"org/alias"};
    start();
    const Json body = json(get("/v1/models"));
    EXPECT_EQ(body["object"], "list");
    ASSERT_EQ(body["data"].size(), 2u);
    const Json& model = body["data"][0];
    EXPECT_EQ(model["id"], "fake-model");
    EXPECT_EQ(model["object"], "model");
    EXPECT_EQ(model["max_model_len"], 1000);
    EXPECT_EQ(model["context_length"], 1000);
    EXPECT_EQ(model["meta"]["n_ctx_train"], 4096);
    EXPECT_EQ(model["meta"]["size"], 1234);
    EXPECT_EQ(json(get("/models")), body);
    EXPECT_EQ(json(get("/v1/models/fake-model")), model);
    EXPECT_EQ(json(get("/v1/models/org/alias"))["id"], "org/alias");
    EXPECT_EQ(json(get("/v1/models/org%2Falias"))["id"], "org/alias");
    const auto unknown = get("/v1/models/other");
    EXPECT_EQ(unknown.status, 404);
    EXPECT_EQ(json(unknown)["error"]["code"], "model_not_found");
}

TEST_F(InfoApi, AnotherNameMayBeGiven) {
    options.model_name = "house-model";
    start();
    EXPECT_EQ(json(get("/v1/models"))["data"][0]["id"], "house-model");
    EXPECT_EQ(json(get("/props"))["model_alias"], "house-model");
}

TEST_F(InfoApi, PropsHasEveryKeyBeforeAndAfterLoading) {
    options.limits.defaults.top_p = 0.95f;
    start(false);
    for (const bool loaded : {false, true}) {
        if (loaded) api->set_ready(backend);
        const Json props = json(get("/props"));
        for (const char* path : {"/server/name",
                                 "/server/version",
                                 "/server/props_schema",
                                 "/build_info",
                                 "/build/server_name",
                                 "/build/server_version",
                                 "/build/props_schema",
                                 "/build/git_sha",
                                 "/build/image_tag",
                                 "/build/build_time",
                                 "/build/image_digest",
                                 "/host",
                                 "/model/arch",
                                 "/model/tokenizer_id",
                                 "/model/alias",
                                 "/model/draft_path",
                                 "/model/target",
                                 "/model/draft",
                                 "/model_alias",
                                 "/model_path",
                                 "/model_card",
                                 "/default_generation_settings/n_ctx",
                                 "/default_generation_settings/temperature",
                                 "/default_generation_settings/top_p",
                                 "/default_generation_settings/top_k",
                                 "/default_generation_settings/min_p",
                                 "/default_generation_settings/repeat_penalty",
                                 "/budget_envelope/model_card_source",
                                 "/budget_envelope/default_max_tokens",
                                 "/budget_envelope/hard_limit_reply_budget",
                                 "/budget_envelope/think_max_tokens",
                                 "/budget_envelope/effort_tiers/x-high",
                                 "/reasoning/supported",
                                 "/reasoning/default",
                                 "/reasoning/supported_efforts",
                                 "/capabilities/reasoning_supported",
                                 "/capabilities/speculative_supported",
                                 "/capabilities/tools_supported",
                                 "/speculative_mode",
                                 "/speculative/enabled",
                                 "/speculative/ddtree_budget",
                                 "/runtime/backend",
                                 "/runtime/fa_window",
                                 "/runtime/kv_cache_k",
                                 "/runtime/kv_cache_v",
                                 "/runtime/lazy_draft",
                                 "/runtime/draft_residency",
                                 "/runtime/target_sharding",
                                 "/runtime/chunk",
                                 "/runtime/target_device",
                                 "/runtime/draft_device",
                                 "/sampling/capabilities/supports_seed",
                                 "/pflash/enabled",
                                 "/pflash/mode",
                                 "/pflash/draft_residency",
                                 "/prefix_cache/capacity",
                                 "/full_cache/disk_policy",
                                 "/tool_replay/current_bytes",
                                 "/daemon/alive",
                                 "/api/endpoints",
                                 "/limits/queue",
                                 "/auth/required",
                                 "/uptime_s"})
            EXPECT_TRUE(props.contains(Json::json_pointer(path))) << path << (loaded ? " loaded" : " loading");
        EXPECT_EQ(props["server"]["props_schema"], 4);
        EXPECT_EQ(props["server"]["version"], "1.2.3");
        EXPECT_TRUE(props["build"]["git_sha"].is_null());
        EXPECT_TRUE(props["host"].is_null());
        EXPECT_EQ(props["default_generation_settings"]["top_p"].dump(), "0.95");
        EXPECT_EQ(props["model"]["target"].is_null(), !loaded);
        EXPECT_EQ(props["budget_envelope"]["default_max_tokens"], loaded ? Json(1000) : Json());
        EXPECT_EQ(props["budget_envelope"]["think_max_tokens"], loaded ? Json(11'904) : Json());
    }
    const Json props = json(get("/props"));
    EXPECT_EQ(props["model"]["target"]["path"], "/models/fake.gguf");
    EXPECT_EQ(props["model"]["target"]["gguf"]["general.file_type_name"], "Q4_1");
    EXPECT_TRUE(props["model"]["target"]["sha256"].is_null());
    EXPECT_EQ(props["default_generation_settings"]["n_ctx"], 1000);
    EXPECT_EQ(props["runtime"]["backend"], "cpu");
    EXPECT_THAT(props["api"]["endpoints"], testing::Contains("POST /v1/chat/completions"));
}

TEST_F(InfoApi, PropsTellsWhereTheImageComesFrom) {
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("lucebox-api-{}", ::getpid());
    std::filesystem::create_directories(folder);
    options.build.git_sha = "of-the-build";
    options.build.build_time = "2026-01-01T00:00:00Z";
    options.image_info = folder / "IMAGE_INFO";
    options.host_info = folder / "HOST_INFO";
    std::ofstream(options.image_info) << "abc123\nv9\n\n"; // the third is unknown
    std::ofstream(options.host_info) << R"({"os_pretty":"Debian","nproc":2})";
    start();
    const Json props = json(get("/props"));
    EXPECT_EQ(props["build"]["git_sha"], "abc123");
    EXPECT_EQ(props["build"]["image_tag"], "v9");
    EXPECT_EQ(props["build"]["build_time"], "2026-01-01T00:00:00Z");
    EXPECT_EQ(props["host"], Json::parse(R"({"os_pretty":"Debian","nproc":2})"));
    EXPECT_THAT(get("/metrics").body, HasSubstr(R"(lucebox_build_info{git_sha="abc123",image_tag="v9"} 1)"));
    std::filesystem::remove_all(folder);
}

TEST_F(InfoApi, PropsTellsTheOperatorsLengthAndThought) {
    options.default_tokens = 77;
    options.most_thinking = 99;
    start();
    const Json envelope = json(get("/props"))["budget_envelope"];
    EXPECT_EQ(envelope["default_max_tokens"], 77);
    EXPECT_EQ(envelope["think_max_tokens"], 99);
    for (const auto& [effort, tokens] : envelope["effort_tiers"].items()) EXPECT_LE(tokens, 99) << effort;
}

TEST_F(InfoApi, ABrokenFileBesideTheProgramNeverBreaksProps) {
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("lucebox-broken-{}", ::getpid());
    std::string noise;
    for (int i = 0; i < 5000; ++i) noise.push_back(static_cast<char>(i * 97 + i / 256));
    const std::string texts[] = {"", "{", "[1, 2]", "null", "\"text\"", R"({"nproc": )", noise, std::string(3 << 20, '['), "<html>\n<html>\n"};
    options.host_facts = R"({"nproc":4})";
    for (const std::string& text : texts) {
        std::filesystem::create_directories(folder);
        options.image_info = folder / "IMAGE_INFO";
        options.host_info = folder / "HOST_INFO";
        std::ofstream(options.image_info) << text;
        std::ofstream(options.host_info) << text;
        start();
        const Json props = json(get("/props"));
        EXPECT_EQ(props["host"], Json::parse(R"({"nproc":4})")) << text.substr(0, 20);
        for (const char* name : {"git_sha", "image_tag", "build_time"}) {
            EXPECT_TRUE(props["build"][name].is_null() || (props["build"][name].is_string() && props["build"][name].get<std::string>().size() < 100)) << name << text.substr(0, 20);
        }
        EXPECT_EQ(get("/metrics").status, 200);
        server->stop();
        std::filesystem::remove_all(folder);
        std::filesystem::create_directories(options.image_info); // and a folder of that name
    }
    std::filesystem::remove_all(folder);
}

TEST_F(InfoApi, MetricsCountRequestsTokensAndTimes) {
    backend->script = [](FakeBackend::Submission& s) {
        s.say("abc");
        s.finish(3);
    };
    start();
    ASSERT_EQ(chat().status, 200);
    ASSERT_EQ(chat(R"("n":0)").status, 400);
    get("/v1/models/some-name");
    get("/no/such/path");
    // A request is counted when its answer is on its way: perhaps after the client has read it, and after the next one's.
    ASSERT_TRUE(eventually([&] {
        const std::string body = get("/metrics").body;
        return body.find("route=\"other\"") != std::string::npos && body.find("code=\"400\"") != std::string::npos &&
               body.find("route=\"/v1/models/{id}\"") != std::string::npos;
    }));
    const auto response = get("/metrics");
    EXPECT_THAT(response.header("content-type"), HasSubstr("text/plain"));
    const std::string prompt = std::to_string(backend->at(0).request.prompt.size());
    EXPECT_THAT(response.body,
                AllOf(HasSubstr("lucebox_requests_total{route=\"/v1/chat/completions\",code=\"200\"} 1\n"),
                      HasSubstr("lucebox_requests_total{route=\"/v1/chat/completions\",code=\"400\"} 1\n"),
                      HasSubstr("lucebox_requests_total{route=\"/v1/models/{id}\",code=\"404\"} 1\n"),
                      HasSubstr("lucebox_requests_total{route=\"other\",code=\"404\"} 1\n"),
                      HasSubstr("lucebox_prompt_tokens_total " + prompt + "\n"),
                      HasSubstr("lucebox_completion_tokens_total 3\n"), HasSubstr("lucebox_queue_depth 3\n"),
                      HasSubstr("lucebox_prefill_seconds_bucket{le=\"0.5\"} 1\n"),
                      HasSubstr("lucebox_prefill_seconds_bucket{le=\"0.25\"} 0\n"),
                      HasSubstr("lucebox_decode_seconds_sum 2\n"), HasSubstr("lucebox_ttft_seconds_count 1\n")));
    EXPECT_THAT(response.body, AllOf(HasSubstr("lucebox_prefix_cache_misses_total 1\n"),
                                     HasSubstr("lucebox_prefix_cache_hits_total 0\n"),
                                     HasSubstr("# TYPE lucebox_draft_accept_ratio gauge"),
                                     HasSubstr("# TYPE lucebox_vram_used_bytes gauge"),
                                     HasSubstr("# TYPE lucebox_vram_total_bytes gauge"), Not(HasSubstr("some-name"))));
}

TEST_F(InfoApi, Tokenizes) {
    start();
    EXPECT_EQ(json(post("/tokenize", R"({"content":"ab<s>c"})")), Json::parse(R"({"tokens":[260,258,99]})"));
    EXPECT_EQ(json(post("/tokenize", R"({"content":"<s>","parse_special":false})")),
              Json::parse(R"({"tokens":[60,115,62]})"));
    EXPECT_EQ(json(post("/tokenize", R"({"content":"aé","with_pieces":true})")), Json::parse(R"({"tokens":[
        {"id":97,"piece":"a"},{"id":195,"piece":[195]},{"id":169,"piece":[169]}]})"));
    EXPECT_EQ(json(post("/tokenize", R"({"content":""})")), Json::parse(R"({"tokens":[]})"));
    EXPECT_EQ(json(post("/tokenize", R"({"text":"x"})"))["error"]["param"], "content");
}

TEST_F(InfoApi, Detokenizes) {
    start();
    EXPECT_EQ(json(post("/detokenize", R"({"tokens":[258,97,195,169]})")), Json::parse(R"({"content":"<s>aé"})"));
    EXPECT_EQ(json(post("/detokenize", R"({"tokens":[97,195]})"))["content"], "a\xEF\xBF\xBD");
    EXPECT_EQ(json(post("/detokenize", R"({"tokens":[]})"))["content"], "");
    const auto refused = post("/detokenize", R"({"tokens":[999]})");
    EXPECT_EQ(refused.status, 400);
    EXPECT_EQ(json(refused)["error"]["param"], "tokens");
}

TEST_F(InfoApi, AppliesTheTemplate) {
    start();
    EXPECT_EQ(json(post("/apply-template", R"({"messages":[{"role":"user","content":" <s> "}]})"))["prompt"],
              "<|im_start|>user\n<s><|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(InfoApi, OtherPathsAnswerInOpenAisShapeToo) {
    start();
    EXPECT_EQ(json(get("/v2/x"))["error"]["code"], "not_found");
    const auto wrong_method = get("/v1/chat/completions");
    EXPECT_EQ(wrong_method.status, 405);
    EXPECT_THAT(wrong_method.header("allow"), HasSubstr("POST"));
    EXPECT_TRUE(json(wrong_method)["error"].contains("message"));
}

TEST_F(InfoApi, WhatIsKnownElsewhereIsNotServedAndNotWorthAnotherTry) {
    start();
    for (const char* path : {"/v1/rerank", "/v1/messages/batches", "/v1/messages/batches/msgbatch_1/cancel", "/v1/responses/resp_1/cancel", "/v1/files",
                             "/v1/images/edits", "/v1/audio/translations", "/v1/threads/thread_1/runs"}) {
        const auto refused = post(path, "{}");
        EXPECT_EQ(refused.status, 501) << path;
        EXPECT_EQ(refused.header("x-should-retry"), "false");
        EXPECT_EQ(json(refused).contains("request_id"), std::string_view(path).starts_with("/v1/messages")) << path; // in the route's own dialect
    }
    EXPECT_EQ(json(get("/slots"))["error"]["code"], "not_implemented");
    EXPECT_EQ(get("/v1/responses/resp_1").status, 501);
    const auto props = json(get("/props"));
    EXPECT_THAT(props["api"]["endpoints"], testing::Not(testing::Contains(HasSubstr("/v1/files"))));
}

} // namespace
} // namespace lucebox::server
