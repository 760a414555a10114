// An oracle folder (tests/data/oracle): a tiny model and what it must compute.
#pragma once

#include "base/npy.h"
#include "compute/cpu/cpu_device.h"
#include "compute/devices.h"
#include "gguf/blocks.h"
#include "model/runner.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace lucebox::model::testing {

inline std::filesystem::path oracle_path(std::string_view folder) {
    return std::filesystem::path("tests/data/oracle") / folder;
}

template <class T> std::vector<T> must(Result<std::vector<T>> result) {
    EXPECT_TRUE(result) << (result ? "" : result.error().message);
    return result ? *result : std::vector<T>{};
}

// An array of f4 or f2 as floats.
inline std::vector<float> floats(const std::filesystem::path& path) {
    const auto array = read_npy(path);
    EXPECT_TRUE(array) << (array ? "" : array.error().message);
    if (!array) return {};
    std::vector<float> values(array->elements());
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (array->dtype == "<f4") {
            std::memcpy(&values[i], array->data.data() + 4 * i, 4);
        } else {
            std::uint16_t half;
            std::memcpy(&half, array->data.data() + 2 * i, 2);
            values[i] = gguf::f16_to_f32(half);
        }
    }
    return values;
}

// What a test runs on.
enum class On { reference, cpu, cuda };

inline const char* name_of(On on) {
    return on == On::reference ? "reference" : on == On::cpu ? "fast" : "cuda";
}
inline void PrintTo(On on, std::ostream* out) { *out << name_of(on); }

inline compute::DeviceOptions device_options(On on, std::size_t threads) {
    return {on == On::cuda ? compute::DeviceChoice::cuda : compute::DeviceChoice::cpu, threads, on == On::reference, 0};
}

// Whether a GPU can be used here; if not, a test that needs one says so and ends.
inline bool gpu_is_here() {
    for (const auto& device : compute::known_devices()) {
        if (device.kind == "cuda" && device.problem.empty()) return true;
    }
    return false;
}
#define LUCEBOX_NEEDS_GPU_IF(condition)                                                                                \
    if ((condition) && !gpu_is_here()) GTEST_SKIP() << "skipped: no GPU"

// A model ready to run, with all it stands on.
struct Rig {
    gguf::ModelFile file;
    std::unique_ptr<compute::Device> device;
    std::unique_ptr<Runner> runner;

    explicit Rig(const std::filesystem::path& path, const RunnerOptions& options = {}, On on = On::cpu, std::size_t threads = 2)
        : Rig(path, options, must_make(on, threads)) {}
    Rig(const std::filesystem::path& path, const RunnerOptions& options, const compute::cpu::CpuOptions& cpu)
        : Rig(path, options, compute::cpu::make_device(cpu)) {}
    Rig(const std::filesystem::path& path, const RunnerOptions& options, std::unique_ptr<compute::Device> on)
        : file(must_open(path)), device(std::move(on)) {
        auto loaded = Runner::load(file, *device, options);
        if (!loaded) throw std::runtime_error(loaded.error().message);
        runner = std::move(*loaded);
    }

    static std::unique_ptr<compute::Device> must_make(On on, std::size_t threads) {
        auto device = compute::make_device(device_options(on, threads));
        if (!device) throw std::runtime_error(device.error().message);
        return std::move(*device);
    }

    static gguf::ModelFile must_open(const std::filesystem::path& path) {
        auto file = gguf::ModelFile::open(path);
        if (!file) throw std::runtime_error(file.error().message);
        return std::move(*file);
    }

    SequenceId open() {
        const auto sequence = runner->open();
        if (!sequence) throw std::runtime_error(sequence.error().message);
        return *sequence;
    }

    // Feeds tokens as a path and commits them; the logits of every one, row by row.
    std::vector<std::vector<float>> feed(SequenceId sequence, std::span<const TokenId> tokens, std::size_t rows_per_step) {
        std::vector<std::vector<float>> logits;
        for (std::size_t begin = 0; begin < tokens.size(); begin += rows_per_step) {
            std::vector<Row> rows;
            for (std::size_t i = begin; i < std::min(begin + rows_per_step, tokens.size()); ++i) {
                rows.push_back({sequence, tokens[i], static_cast<std::int32_t>(rows.size()) - 1, true});
            }
            const Status status = runner->step(rows, Commit::all);
            if (!status) throw std::runtime_error(status.error().message);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                const auto row = runner->logits(i);
                logits.emplace_back(row.begin(), row.end());
            }
        }
        return logits;
    }
};

inline std::size_t best(std::span<const float> logits) {
    return static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

} // namespace lucebox::model::testing
