// The part of `lucebox bench --explain`: a decoded token's time by families of kernels.
#pragma once

#include "app/bench_measure.h"

#include <string>

namespace lucebox::app {

// plain: a token's milliseconds when nobody looks. Both figures are of one token.
nlohmann::ordered_json explanation_json(const Explanation& explanation, double plain);
std::string explanation_table(const Explanation& explanation, double plain);

} // namespace lucebox::app
