// What hostile schemas, patterns and grammars cost a request: compiling, and the masks of its tokens, until they are refused or
// given up. The promise is 100 ms of CPU time. bench_grammar [MODEL.gguf]; without one, the default model's vocabulary.
#include "../tests/text/hostile_grammars.h"
#include "default_model.h"
#include "gguf/model_file.h"

#include <algorithm>
#include <filesystem>

namespace lucebox::text {
namespace {

int run(const std::filesystem::path& model) {
    const auto file = gguf::ModelFile::open(model);
    const auto tokenizer = file ? Tokenizer::from_metadata(*file) : Result<std::unique_ptr<Tokenizer>>(file.error());
    if (!tokenizer) {
        fmt::print(stderr, "error: {}\n", tokenizer.error().message);
        return 1;
    }
    constexpr int repetitions = 5, tokens = 200;
    double worst = 0;
    fmt::print("{:<36} {:>10} {:>9} {:>7} {:>10} {:>8}  end\n", "grammar", "compile ms", "masks ms", "tokens", "median ms", "worst");
    for (const HostileGrammar& hostile : hostile_grammars()) {
        std::vector<double> costs;
        HostileCost cost;
        for (int i = 0; i < repetitions; ++i) {
            cost = cost_of(hostile, TokenTrie::build(**tokenizer), tokens); // nothing is known of this vocabulary
            costs.push_back(cost.compile + cost.masks);
        }
        std::ranges::sort(costs);
        worst = std::max(worst, costs[repetitions / 2]);
        fmt::print("{:<36} {:>10.1f} {:>9.1f} {:>7} {:>10.1f} {:>8.1f}  {}\n", hostile.name, cost.compile, cost.masks, cost.tokens, costs[repetitions / 2], costs.back(), cost.end.substr(0, 60));
    }
    fmt::print("\n{}: the worst median is {:.1f} ms of CPU time\n", worst <= 100 ? "kept" : "NOT KEPT", worst);
    return worst <= 100 ? 0 : 1;
}

} // namespace
} // namespace lucebox::text

int main(int count, char** words) { return lucebox::text::run(lucebox::model_of(count, words)); }
