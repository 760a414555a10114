// What a run of the draft will be worth, before it is run.
//
// A draft costs as much as a step or a small part of one, whether its guesses are any good or not. But how good they will be is known
// beforehand, roughly: what the model itself was sure of, its draft guesses well. How sure it was of the last tokens costs next to
// nothing to know. So runs are sorted into bins by that, and by what lookup promised without them; each bin remembers what
// runs of the draft gained lately.
#pragma once

#include <array>
#include <cstddef>

namespace lucebox::decode {

class DraftWorth {
public:
    static constexpr float unknown = -1;

    struct Situation {
        float sureness = unknown; // the probability that the model gave its best token, over the last few
        double without = 1;       // tokens a second that are promised without the draft, over those of plain steps
    };
    // Tokens a second with the draft over those without. `guess`: what to think of it before anything is known.
    double gain(const Situation& situation, double guess) const;
    void observe(const Situation& situation, double gain);

private:
    struct Bin {
        double gains = 0, runs = 0; // of late
    };
    static constexpr std::size_t most_sureness = 12, most_without = 5;
    static std::size_t bin(const Situation& situation);

    std::array<Bin, (most_sureness + 1) * most_without> bins_{};
};

} // namespace lucebox::decode
