// What Device::summarise promises, checked on any device against plain sorting and sums.
#pragma once

#include "compute/row_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

namespace lucebox::compute::testing {

class Summaries {
public:
    Summaries(Device& device, std::size_t rows, std::size_t width)
        : device_(device), rows_(rows), width_(width), logits_(take(rows * width * sizeof(float))), queries_(take(rows * sizeof(RowQuery))),
          masks_(take(rows * mask_words(width) * 8)), summaries_(take(rows * RowSummary::bytes(width))),
          more_(take(rows * (RowSummary::room - RowSummary::near) * sizeof(RowCandidate))) {}

    std::vector<float> logits;
    std::vector<std::uint64_t> masks;
    std::vector<RowQuery> queries;

    void run() {
        device_.upload(logits_->data(), std::as_bytes(std::span(logits)));
        device_.upload(masks_->data(), std::as_bytes(std::span(masks)));
        device_.upload(queries_->data(), std::as_bytes(std::span(queries)));
        StepPlan plan;
        plan.rows.resize(1);
        plan.sequences.resize(1);
        plan.sequences[0].rows = 1;
        device_.begin_step(plan);
        device_.summarise({reinterpret_cast<float*>(logits_->data()), rows_, width_}, reinterpret_cast<const RowQuery*>(queries_->data()), queries.size(),
                          reinterpret_cast<const std::uint64_t*>(masks_->data()), summaries_->data(), reinterpret_cast<RowCandidate*>(more_->data()));
        device_.end_step();
        got_.resize(rows_ * RowSummary::bytes(width_));
        device_.download(got_, summaries_->data());
        more.resize(rows_ * (RowSummary::room - RowSummary::near));
        device_.download(std::as_writable_bytes(std::span(more)), more_->data());
    }

    void check(const RowQuery& query) const {
        const auto row = static_cast<std::size_t>(query.row);
        std::vector<float> values(logits.begin() + static_cast<std::ptrdiff_t>(row * width_), logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * width_));
        if (query.masked != 0) forbid(values, std::span(masks).subspan(row * mask_words(width_), mask_words(width_)));
        const std::byte* const at = got_.data() + row * RowSummary::bytes(width_);
        const auto& summary = *reinterpret_cast<const RowSummary*>(at);
        float best = -std::numeric_limits<float>::infinity();
        std::int32_t best_token = 0;
        for (std::size_t i = 0; i < width_; ++i) {
            if (values[i] > best) best = values[i], best_token = static_cast<std::int32_t>(i);
        }
        ASSERT_EQ(summary.best, best);
        ASSERT_EQ(summary.best_token, best_token);
        if (query.temperature == 0 || !std::isfinite(best)) return;
        std::vector<double> masses;
        double total = 0;
        for (std::size_t begin = 0; begin < width_; begin += RowSummary::mass_block) {
            const auto block = std::span(values).subspan(begin, std::min(RowSummary::mass_block, width_ - begin));
            masses.push_back(block_mass(block, best, query.temperature, best + query.floor));
            total += masses.back();
        }
        const auto* const got_masses = reinterpret_cast<const double*>(at + sizeof(RowSummary));
        if (query.count == 0) {
            ASSERT_EQ(std::vector<double>(got_masses, got_masses + masses.size()), masses);
        }
        if (query.count == 0 && query.share == 0) return;
        if (summary.found > RowSummary::room) return; // said to be too many
        std::vector<RowCandidate> all, candidates(summary.candidate, summary.candidate + std::min<std::size_t>(summary.found, RowSummary::near));
        best_candidates(values, width_, best + query.floor, all);
        const auto rest = more.begin() + static_cast<std::ptrdiff_t>(row * (RowSummary::room - RowSummary::near));
        if (summary.found > RowSummary::near) candidates.insert(candidates.end(), rest, rest + static_cast<std::ptrdiff_t>(summary.found - RowSummary::near));
        std::ranges::sort(candidates, precedes);
        ASSERT_LE(candidates.size(), all.size());
        double mass = 0;
        for (std::size_t i = 0; i < candidates.size(); ++i) {
            ASSERT_EQ(candidates[i].token, all[i].token) << "rank " << i << " of " << candidates.size();
            ASSERT_EQ(candidates[i].logit, all[i].logit);
            mass += exp_negative((candidates[i].logit - best) / query.temperature);
        }
        if (candidates.size() == all.size()) return;
        if (query.count > 0) {
            ASSERT_GE(candidates.size(), query.count);
        } else {
            ASSERT_GE(mass, static_cast<double>(query.share) * total);
        }
    }

    std::uint32_t found(std::size_t row) const { return reinterpret_cast<const RowSummary*>(got_.data() + row * RowSummary::bytes(width_))->found; }

private:
    std::unique_ptr<Buffer> take(std::size_t bytes) {
        auto buffer = device_.allocate(bytes);
        if (!buffer) throw std::runtime_error(buffer.error().message);
        return std::move(*buffer);
    }

    Device& device_;
    std::size_t rows_, width_;
    std::unique_ptr<Buffer> logits_, queries_, masks_, summaries_, more_;
    std::vector<std::byte> got_;
    std::vector<RowCandidate> more;
};

// Every kind of query, with and without a mask, over rows of all sorts, and several widths.
inline void check_summaries(Device& device, std::span<const std::size_t> widths) {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    std::mt19937 random(5);
    const RowQuery kinds[] = {
        {.temperature = 0},
        {.temperature = 1},
        {.temperature = 0.7f, .floor = 0.7f * std::log(0.05f)},
        {.temperature = 0.8f, .count = 20},
        {.temperature = 1.2f, .floor = 1.2f * std::log(0.2f), .count = 300},
        {.temperature = 1, .share = 0.9f},
        {.temperature = 0.3f, .share = 0.99f},
        {.temperature = 1e-3f, .share = 1e-6f},
    };
    constexpr std::size_t count = std::size(kinds);
    for (const std::size_t width : widths) {
        Summaries summaries(device, 2 * count + 1, width);
        for (const int sort : {0, 1, 2, 3}) { // spread wide; narrow, with ties; with what is no number; nothing but such
            std::normal_distribution<float> normal(0, sort == 0 ? 6.0f : 2.0f);
            summaries.logits.resize((2 * count + 1) * width);
            for (float& logit : summaries.logits) {
                logit = normal(random);
                if (sort == 1) logit = std::round(4 * logit) / 4;
                if (sort == 2 && random() % 3 == 0) logit = random() % 2 == 0 ? nan : -infinity;
                if (sort == 3) logit = random() % 2 == 0 ? nan : -infinity;
            }
            if (sort == 2) summaries.logits[width / 2] = infinity; // of the first row
            summaries.masks.resize((2 * count + 1) * mask_words(width));
            for (std::size_t i = 0; i < summaries.masks.size(); ++i) {
                const std::size_t row = i / mask_words(width);
                const std::uint64_t bits = (std::uint64_t{random()} << 32) | random();
                summaries.masks[i] = row % 3 == 0 ? bits : row % 3 == 1 ? (random() % 8 == 0 ? bits & 0x8100 : 0)
                                                                        : ~std::uint64_t{0};
            }
            summaries.queries.clear();
            for (std::size_t i = 0; i < 2 * count; ++i) {
                RowQuery query = kinds[i / 2];
                query.row = static_cast<std::int32_t>(i);
                query.masked = static_cast<std::int32_t>(i % 2);
                summaries.queries.push_back(query);
                if (i == 3) summaries.queries.push_back({}); // nothing is asked
            }
            summaries.run();
            for (const RowQuery& query : summaries.queries) {
                SCOPED_TRACE("width " + std::to_string(width) + ", sort " + std::to_string(sort) + ", query " + std::to_string(query.row));
                if (query.row >= 0) summaries.check(query);
                if (::testing::Test::HasFatalFailure()) return;
            }
        }
        // More than there is room for is said to be, and nothing is written behind the room.
        if (width > 2 * RowSummary::room) {
            std::ranges::fill(summaries.logits, 1.0f);
            summaries.queries = {{.row = 2, .temperature = 1, .share = 0.9f}};
            summaries.run();
            ASSERT_GT(summaries.found(2), RowSummary::room);
        }
    }
}

} // namespace lucebox::compute::testing
