#include "decode/draft_worth.h"

#include <algorithm>
#include <iterator>

namespace lucebox::decode {
namespace {

constexpr double weight_of_guess = 5; // runs
constexpr double kept = 0.98;         // of what a bin knows, with every run: about the last fifty count

// Upper edges of the bins, denser where it matters.
constexpr float sureness_edges[] = {0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.78f, 0.85f, 0.9f, 0.94f, 0.97f, 0.99f};
constexpr double without_edges[] = {1.1, 1.5, 2.2, 4};

} // namespace

std::size_t DraftWorth::bin(const Situation& situation) {
    const auto without = static_cast<std::size_t>(std::ranges::lower_bound(without_edges, situation.without) - std::begin(without_edges));
    const auto sureness = situation.sureness < 0 ? most_sureness
                                                 : static_cast<std::size_t>(std::ranges::lower_bound(sureness_edges, situation.sureness) -
                                                                            std::begin(sureness_edges));
    return without * (most_sureness + 1) + sureness;
}

double DraftWorth::gain(const Situation& situation, double guess) const {
    const Bin& b = bins_[bin(situation)];
    return (b.gains + weight_of_guess * guess) / (b.runs + weight_of_guess);
}

void DraftWorth::observe(const Situation& situation, double gain) {
    Bin& b = bins_[bin(situation)];
    b = {kept * b.gains + gain, kept * b.runs + 1};
}

} // namespace lucebox::decode
