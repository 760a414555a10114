// How fast packed matrices multiply: all matrices of a model for one token (decode) beside a plain read of as many
// bytes, and single matrices by many rows (prefill) beside the peak of the dot-product instruction.
//
//   bench_matmul [--threads N] [--repeat N] [--json] [--isa portable|avx2|avx512] [decode|prefill|rows]
//
// The weights are random; every layer has its own, so that decode runs as cold as it does in a model.
#include "base/thread_pool.h"
#include "compute/cpu/packed_matrix.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

using namespace lucebox;
using namespace lucebox::compute::cpu;
using gguf::TensorType;

namespace {

struct Options {
    std::size_t threads = 0;
    int repeat = 15;
    bool json = false;
    std::string mode; // empty: all
    Isa isa = best_isa();
};

struct Shape {
    const char* name;
    TensorType type;
    std::size_t inputs, outputs, count;
};

struct Model {
    const char* name;
    std::vector<Shape> shapes;
};

// The files of the two models: SmolLM2-135M-Instruct Q4_1 and gemma-3-270m Q4_K_M.
const std::vector<Model>& models() {
    using enum TensorType;
    static const std::vector<Model> all = {
        {"SmolLM2-135M Q4_1",
         {{"qkv", q4_1, 576, 960, 30},
          {"attn_output", q4_1, 576, 576, 30},
          {"ffn_gate_up", q4_1, 576, 3072, 30},
          {"ffn_down", q4_1, 1536, 576, 30},
          {"head", q8_0, 576, 49152, 1}}},
        {"gemma-3-270m Q4_K_M",
         {{"qk", q5_0, 640, 1280, 18},
          {"v", q8_0, 640, 256, 9},
          {"v", q5_0, 640, 256, 9},
          {"attn_output", q4_k, 1024, 640, 18},
          {"ffn_gate_up", q5_0, 640, 4096, 18},
          {"ffn_down", q6_k, 2048, 640, 9},
          {"ffn_down", q4_k, 2048, 640, 9},
          {"head", q8_0, 640, 262144, 1}}},
    };
    return all;
}

double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Spread {
    double median = 0, best = 0, worst = 0;
};

template <class Function>
Spread measure(int repeat, Function&& function) {
    std::vector<double> times;
    function(); // warm up
    for (int i = 0; i < repeat; ++i) {
        const double start = seconds();
        function();
        times.push_back(seconds() - start);
    }
    std::sort(times.begin(), times.end());
    return {times[times.size() / 2], times.front(), times.back()};
}

std::unique_ptr<PackedMatrix> random_matrix(const Shape& shape, Isa isa) {
    static std::mt19937_64 random(1);
    const gguf::BlockFormat& format = gguf::block_format(shape.type);
    std::vector<std::byte> bytes(shape.inputs / format.elements * format.bytes * shape.outputs);
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
        const std::uint64_t word = random() & 0x3F3F3F3F3F3F3F3Full; // no f16 infinities or NaNs
        std::memcpy(&bytes[i], &word, 8);
    }
    return PackedMatrix::pack({shape.name, shape.type, {shape.inputs, shape.outputs, 1, 1}, bytes}, isa);
}

// Cache lines that quantise_row() and the kernels may touch, 64-byte aligned.
struct Rows {
    std::size_t stride = 0;
    std::byte* data = nullptr;

    Rows(const PackedMatrix& matrix, std::size_t rows, Isa isa) {
        const std::size_t inputs = matrix.inputs();
        stride = matrix.takes_quantised() ? quantised_row_bytes(inputs) : (inputs * 4 + 63) / 64 * 64;
        data = static_cast<std::byte*>(std::aligned_alloc(64, rows * stride));
        std::mt19937 random(2);
        std::normal_distribution<float> normal;
        std::vector<float> values(inputs);
        for (std::size_t r = 0; r < rows; ++r) {
            for (float& value : values) value = normal(random);
            if (matrix.takes_quantised()) quantise_row(values, data + r * stride, isa);
            else std::memcpy(data + r * stride, values.data(), inputs * 4);
        }
    }
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;
    ~Rows() { std::free(data); }
};

void multiply(ThreadPool& pool, const PackedMatrix& matrix, const Rows& x, std::size_t rows, float* out) {
    const std::size_t groups = (matrix.outputs() + PackedMatrix::output_group - 1) / PackedMatrix::output_group;
    const std::size_t parts = pool.size() == 1 ? 1 : 4 * pool.size();
    pool.run(groups, std::max<std::size_t>(2, (groups + parts - 1) / parts),
             [&](std::size_t begin, std::size_t end, std::size_t) {
                 matrix.multiply(x.data, x.stride, rows, begin * PackedMatrix::output_group,
                                 std::min(matrix.outputs(), end * PackedMatrix::output_group), out, matrix.outputs(),
                                 false);
             });
}

// Reads `size` bytes on all threads, as fast as plain loops do.
class PlainRead {
public:
    explicit PlainRead(std::size_t bytes) : words_(bytes / 8, 1) {}

    void run(ThreadPool& pool) {
        constexpr std::size_t part = 1u << 15;
        pool.run(words_.size() / part, std::max<std::size_t>(1, words_.size() / part / (4 * pool.size())),
                 [&](std::size_t begin, std::size_t end, std::size_t) {
                     std::uint64_t sums[32] = {};
                     for (std::size_t i = begin * part; i < end * part; i += 32)
                         for (std::size_t j = 0; j < 32; ++j) sums[j] ^= words_[i + j];
                     std::uint64_t all = 0;
                     for (const std::uint64_t sum : sums) all ^= sum;
                     sink_.fetch_xor(all, std::memory_order_relaxed);
                 });
    }

private:
    std::vector<std::uint64_t> words_;
    std::atomic<std::uint64_t> sink_{0};
};

void decode(const Options& options, ThreadPool& pool) {
    for (const Model& model : models()) {
        struct Item {
            const Shape* shape;
            std::unique_ptr<PackedMatrix> matrix;
        };
        std::vector<Item> items;
        std::vector<std::unique_ptr<Rows>> rows;
        std::size_t bytes = 0;
        std::size_t most_outputs = 0;
        std::size_t layers = 0;
        for (const Shape& shape : model.shapes) layers = std::max(layers, shape.count);
        for (std::size_t layer = 0; layer < layers; ++layer) {
            for (const Shape& shape : model.shapes) {
                if (layer >= shape.count) continue;
                if (shape.count == 1 && layer + 1 < layers && layer != 0) continue;
                items.push_back({&shape, random_matrix(shape, options.isa)});
                bytes += items.back().matrix->bytes();
                most_outputs = std::max(most_outputs, shape.outputs);
            }
        }
        for (const Item& item : items) rows.push_back(std::make_unique<Rows>(*item.matrix, 1, options.isa));
        std::vector<float> out(most_outputs);
        const Spread time = measure(options.repeat, [&] {
            for (std::size_t i = 0; i < items.size(); ++i) multiply(pool, *items[i].matrix, *rows[i], 1, out.data());
        });
        PlainRead reader(bytes);
        const Spread read = measure(options.repeat, [&] { reader.run(pool); });
        const double size = static_cast<double>(bytes);
        if (options.json) {
            std::printf("{\"bench\":\"decode\",\"model\":\"%s\",\"threads\":%zu,\"bytes\":%zu,\"median_s\":%.6g,"
                        "\"best_s\":%.6g,\"worst_s\":%.6g,\"read_median_s\":%.6g}\n",
                        model.name, pool.size(), bytes, time.median, time.best, time.worst, read.median);
            continue;
        }
        std::printf("%-22s %zu threads  %6.1f MB a token  %6.2f ms (best %.2f, worst %.2f)  %5.1f GB/s = %3.0f %% of a "
                    "plain read (%.1f GB/s)\n",
                    model.name, pool.size(), size / 1e6, time.median * 1e3, time.best * 1e3, time.worst * 1e3,
                    size / time.median / 1e9, 100 * read.median / time.median, size / read.median / 1e9);
    }
}

// Multiply-adds a second of one matrix by `rows` rows.
void product(const Options& options, ThreadPool& pool, const Shape& shape, std::size_t rows) {
    const auto matrix = random_matrix(shape, options.isa);
    const Rows x(*matrix, rows, options.isa);
    std::vector<float> out(rows * shape.outputs);
    const double work = static_cast<double>(rows * shape.inputs * shape.outputs);
    const int inner = static_cast<int>(std::clamp(2e8 / work, 1.0, 2000.0));
    Spread time = measure(options.repeat, [&] {
        for (int i = 0; i < inner; ++i) multiply(pool, *matrix, x, rows, out.data());
    });
    const double per = time.median / inner;
    if (options.json) {
        std::printf("{\"bench\":\"product\",\"type\":\"%s\",\"inputs\":%zu,\"outputs\":%zu,\"rows\":%zu,\"threads\":%zu,"
                    "\"median_s\":%.6g,\"gmac_s\":%.6g}\n",
                    gguf::block_format(shape.type).name.data(), shape.inputs, shape.outputs, rows, pool.size(), per,
                    work / per / 1e9);
        return;
    }
    std::printf("%-8s %5zu x %-6zu %4zu rows  %zu threads  %9.1f us  %7.1f GMAC/s  %6.1f GB/s of weights  best %.0f\n",
                gguf::block_format(shape.type).name.data(), shape.inputs, shape.outputs, rows, pool.size(), per * 1e6,
                work / per / 1e9, static_cast<double>(matrix->bytes()) / per / 1e9,
                work * inner / time.best / 1e9);
}

void prefill(const Options& options, ThreadPool& pool) {
    using enum TensorType;
    for (const Shape& shape :
         {Shape{"", q4_1, 576, 3072, 1}, Shape{"", q4_1, 1536, 576, 1}, Shape{"", q5_0, 640, 4096, 1},
          Shape{"", q4_k, 2048, 640, 1}, Shape{"", q6_k, 2048, 640, 1}, Shape{"", q8_0, 640, 4096, 1},
          Shape{"", q4_0, 2048, 2048, 1}, Shape{"", q4_k, 2048, 2048, 1}, Shape{"", q5_k, 2048, 2048, 1},
          Shape{"", iq4_xs, 2048, 2048, 1}, Shape{"", q3_k, 2048, 2048, 1}, Shape{"", q2_k, 2048, 2048, 1},
          Shape{"", f32, 1024, 1024, 1}, Shape{"", f16, 1024, 1024, 1}, Shape{"", bf16, 1024, 1024, 1}})
        product(options, pool, shape, 512);
}

void few_rows(const Options& options, ThreadPool& pool) {
    using enum TensorType;
    for (const Shape& shape : {Shape{"", q4_1, 576, 3072, 1}, Shape{"", q5_0, 640, 4096, 1}, Shape{"", q4_k, 2048, 640, 1},
                               Shape{"", q6_k, 2048, 640, 1}, Shape{"", q8_0, 576, 49152, 1}})
        for (const std::size_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 32, 64}) product(options, pool, shape, rows);
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        const char* value = i + 1 < argc ? argv[i + 1] : "";
        if (argument == "--threads") options.threads = std::strtoul(value, nullptr, 10), ++i;
        else if (argument == "--repeat") options.repeat = std::max(1, std::atoi(value)), ++i;
        else if (argument == "--json") options.json = true;
        else if (argument == "--isa") {
            for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
                constexpr const char* names[] = {"portable", "avx2", "avx512"};
                if (std::string_view(names[static_cast<int>(isa)]) == value) options.isa = isa;
            }
            ++i;
        } else options.mode = argument;
    }
    ThreadPool pool(options.threads);
    if (!options.json) std::printf("%s\n", std::string(isa_name(options.isa)).c_str());
    if (options.mode.empty() || options.mode == "decode") decode(options, pool);
    if (options.mode.empty() || options.mode == "prefill") prefill(options, pool);
    if (options.mode.empty() || options.mode == "rows") few_rows(options, pool);
}
