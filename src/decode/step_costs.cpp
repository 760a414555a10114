#include "decode/step_costs.h"

#include <algorithm>

namespace lucebox::decode {
namespace {

// Of a new measurement: eight steps carry a change of this size, thirty one of all sizes; one hiccup does little. Steps of other sizes are
// not seen meanwhile, so what may be theirs, too, is not theirs at once.
constexpr double learning_scale = 0.03, learning_size = 0.12;
constexpr double most_learning = 0.5; // of a size that was not seen for long
constexpr int unseen_for_long = 64;   // steps
constexpr double returning = 0.01;    // what was unseen for long goes back by so much a step to what it was to plain ones
constexpr double remembering = 0.25;  // of what is seen then
constexpr double most_surprise = 2; // a step that was interrupted says nothing

// The sizes around `rows`, and how far it lies between them.
struct Place {
    std::size_t low, high;
    double share;
};
Place place_of(std::size_t rows) {
    const auto& sizes = StepCosts::sizes;
    rows = std::clamp<std::size_t>(rows, sizes.front(), sizes.back());
    const auto above = static_cast<std::size_t>(std::ranges::lower_bound(sizes, rows) - sizes.begin());
    if (sizes[above] == rows) return {above, above, 0};
    return {above - 1, above, static_cast<double>(rows - sizes[above - 1]) / static_cast<double>(sizes[above] - sizes[above - 1])};
}

} // namespace

StepCosts::StepCosts() {
    for (std::size_t i = 0; i < sizes.size(); ++i) seconds_[i] = 0.01 * (1 + static_cast<double>(sizes[i] - 1) / 16);
    remember_all();
}

void StepCosts::remember_all() {
    for (std::size_t i = 0; i < sizes.size(); ++i) over_plain_[i] = seconds_[i] / seconds_[0];
}

void StepCosts::set(std::size_t rows, double seconds) {
    const Place place = place_of(rows);
    const double factor = seconds / (scale_ * seconds_[place.high]);
    for (std::size_t i = place.high; i < sizes.size(); ++i) seconds_[i] *= factor;
    remember_all();
}

void StepCosts::observe(std::size_t rows, double seconds) {
    const Place place = place_of(rows);
    const double expected = scale_ * (seconds_[place.low] + place.share * (seconds_[place.high] - seconds_[place.low]));
    const double surprise = std::clamp(seconds / expected, 1 / most_surprise, most_surprise) - 1;
    scale_ *= 1 + learning_scale * surprise;
    const auto learn = [&](std::size_t i, double share) {
        const double unseen = std::min(1.0, static_cast<double>(unseen_[i]) / unseen_for_long);
        seconds_[i] *= 1 + (learning_size + (most_learning - learning_size) * unseen) * share * surprise;
        if (unseen_[i] == unseen_for_long && unseen_[0] < unseen_for_long) over_plain_[i] += remembering * (seconds_[i] / seconds_[0] - over_plain_[i]);
        unseen_[i] = -1;
    };
    learn(place.low, 1 - place.share);
    if (place.high != place.low) learn(place.high, place.share);
    for (int& steps : unseen_) steps = std::min(steps + 1, unseen_for_long);
    // A machine that was busy for a while slowed what ran then, and nothing that seems dear since would run again to show otherwise.
    for (std::size_t i = 1; i < sizes.size(); ++i) {
        if (unseen_[i] == unseen_for_long) seconds_[i] += returning * (over_plain_[i] * seconds_[0] - seconds_[i]);
    }
}

double StepCosts::seconds(std::size_t rows) const {
    const Place place = place_of(rows);
    double low = 0, high = 0;
    for (std::size_t i = 0; i <= place.high; ++i) {
        high = std::max(high, seconds_[i]);
        if (i <= place.low) low = high;
    }
    return scale_ * (low + place.share * (high - low));
}

} // namespace lucebox::decode
