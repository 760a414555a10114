#include "app/bench_measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace lucebox::app {

Spread::Spread(std::vector<double> values) {
    std::ranges::sort(values);
    median = values[values.size() / 2];
    low = values.front();
    high = values.back();
}

Result<std::vector<std::size_t>> numbers(const Options& options, std::string_view name) {
    std::vector<std::size_t> values;
    for (const std::string& text : options.list(name)) {
        std::size_t value = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || end != text.data() + text.size() || value == 0) {
            return Error{ErrorKind::usage, fmt::format("--{}: '{}' is not a whole number above 0", name, text)};
        }
        values.push_back(value);
    }
    std::ranges::sort(values);
    return values;
}

Bench::Bench(LoadedModel& model, std::size_t rows, std::size_t repetitions)
    : model_(model), rows_(rows), repetitions_(repetitions), text_(model.runner->options().context) {
    for (std::size_t i = 0; i < text_.size(); ++i) text_[i] = static_cast<model::TokenId>((i * 7919 + 13) % model.runner->vocabulary());
}

Status Bench::restart() {
    model_.runner->close(model_.sequence);
    LUCEBOX_TRY(model_.sequence, model_.runner->open());
    return Ok{};
}

Result<double> Bench::read_to(std::size_t length) {
    const auto start = Clock::now();
    for (std::size_t begin = model_.runner->length(model_.sequence); begin < length; begin += rows_) {
        LUCEBOX_CHECK(model_.feed(std::span(text_).subspan(begin, std::min(rows_, length - begin)), false));
    }
    next_ = model_.runner->best(0);
    LUCEBOX_CHECK(model_.device->failure());
    return since(start);
}

Result<double> Bench::decode(std::size_t count) {
    const auto start = Clock::now();
    for (std::size_t i = 0; i < count; ++i) {
        LUCEBOX_CHECK(model_.feed({&next_, 1}, false));
        next_ = model_.runner->best(0);
    }
    LUCEBOX_CHECK(model_.device->failure());
    return since(start);
}

Result<Spread> Bench::prompt(std::size_t tokens) {
    std::vector<double> rates;
    for (std::size_t i = 0; i <= repetitions_; ++i) { // the first one warms up
        LUCEBOX_CHECK(restart());
        LUCEBOX_TRY(const double seconds, read_to(tokens));
        if (i > 0) rates.push_back(static_cast<double>(tokens) / seconds);
    }
    return Spread(std::move(rates));
}

Result<Spread> Bench::decoding(std::size_t count) {
    std::vector<double> rates;
    for (std::size_t i = 0; i <= repetitions_; ++i) {
        LUCEBOX_TRY(const double seconds, decode(count));
        if (i > 0) rates.push_back(static_cast<double>(count) / seconds);
    }
    return Spread(std::move(rates));
}

Result<Explanation> Bench::explain(std::size_t length, std::size_t count) {
    LUCEBOX_CHECK(restart());
    LUCEBOX_CHECK(read_to(length));
    Explanation explanation;
    const auto explained = [&]() -> Status {
        for (std::size_t i = 0; i <= repetitions_; ++i) {
            if (i == 1) explanation = {}; // the first one warms up
            LUCEBOX_TRY(const double seconds, decode(count));
            explanation.seconds += seconds;
            explanation.tokens += count;
        }
        return Ok{};
    };
    model_.device->explain(&explanation.times);
    const Status status = explained();
    model_.device->explain(nullptr);
    LUCEBOX_CHECK(status);
    return explanation;
}

Result<Spread> Bench::step(std::size_t count, bool tree) {
    std::vector<model::Row> rows;
    for (std::size_t i = 0; i < count; ++i) rows.push_back({model_.sequence, text_[i], parent_row(i, tree), true});
    std::vector<double> times;
    for (std::size_t i = 0; i < 2 + 10 * repetitions_; ++i) {
        const auto start = Clock::now();
        LUCEBOX_CHECK(model_.runner->step(rows, model::Commit::later));
        model_.runner->best(0);
        LUCEBOX_CHECK(model_.device->failure());
        if (i > 1) times.push_back(1e3 * since(start));
    }
    return Spread(std::move(times));
}

double Bench::bytes_to_read(std::size_t context) const {
    const model::Runner& runner = *model_.runner;
    const auto& cache = runner.cache();
    const double kv = static_cast<double>(cache.kv_bytes()) / static_cast<double>(cache.options().capacity);
    double state = 0;
    for (const auto& layer : runner.model().layers()) {
        if (const auto* r = std::get_if<cache::RecurrentShape>(&layer)) {
            state += static_cast<double>(r->value_heads * r->dim * r->dim * sizeof(float));
        }
    }
    return static_cast<double>(runner.model().weight_bytes() - runner.model().vocabulary().bytes_not_read()) +
           kv * static_cast<double>(context) + state;
}

} // namespace lucebox::app
