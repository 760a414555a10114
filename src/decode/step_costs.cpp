#include "decode/step_costs.h"

#include <algorithm>

namespace lucebox::decode {
namespace {

// Of a new measurement: ten steps carry a change of all steps, twenty one of this size; one hiccup does little.
constexpr double learning_scale = 0.1, learning_size = 0.05;
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
}

void StepCosts::set(std::size_t rows, double seconds) {
    const Place place = place_of(rows);
    const double factor = seconds / (scale_ * seconds_[place.high]);
    for (std::size_t i = place.high; i < sizes.size(); ++i) seconds_[i] *= factor;
}

void StepCosts::observe(std::size_t rows, double seconds) {
    const Place place = place_of(rows);
    const double expected = scale_ * (seconds_[place.low] + place.share * (seconds_[place.high] - seconds_[place.low]));
    const double surprise = std::clamp(seconds / expected, 1 / most_surprise, most_surprise) - 1;
    scale_ *= 1 + learning_scale * surprise;
    seconds_[place.low] *= 1 + learning_size * (1 - place.share) * surprise;
    if (place.high != place.low) seconds_[place.high] *= 1 + learning_size * place.share * surprise;
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
