// What a step of n rows takes on this machine: measured at start, corrected by every step that runs. What was not seen for long
// is corrected more by what is seen then; until it is, it goes back to what it was in plain steps.
#pragma once

#include <array>
#include <cstddef>

namespace lucebox::decode {

class StepCosts {
public:
    static constexpr std::array<std::size_t, 14> sizes{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256};

    StepCosts(); // until anything is known: 64 rows cost as much as five steps of one

    void set(std::size_t rows, double seconds); // replaces what is known of these rows; larger steps scale along
    void observe(std::size_t rows, double seconds);
    double seconds(std::size_t rows) const; // never falls as rows grow

private:
    void remember_all();

    std::array<double, sizes.size()> seconds_{}; // but for scale_, which follows a machine that is busy or throttled
    std::array<int, sizes.size()> unseen_{};     // steps since one of about so many rows
    std::array<double, sizes.size()> over_plain_{}; // of each size, as measured and as seen since: plain steps
    double scale_ = 1;
};

} // namespace lucebox::decode
