#include "gguf/quantise_model.h"

#include "base/thread_pool.h"
#include "gguf/blocks.h"
#include "gguf/byte_reader.h"
#include "gguf/writer.h"

#include <algorithm>
#include <fmt/format.h>
#include <mutex>
#include <optional>

namespace lucebox::gguf {
namespace {

constexpr std::uint64_t chunk_bytes = 16u << 20; // of the source: enough rows for every core, little beside a model
constexpr std::uint64_t grain_values = 64u << 10;
constexpr std::uint32_t quantisation_version = 2; // of the block layouts, since 2023

std::string mix_names() {
    std::string names;
    for (const Mix& mix : all_mixes())
        names += fmt::format("{}{}", names.empty() ? "" : ", ", mix.name);
    return names;
}

Result<Mix> resolve(const std::variant<std::string, TensorType>& target) {
    if (const auto* type = std::get_if<TensorType>(&target)) {
        if (quantisable(*type)) return uniform_mix(*type);
        return Error{ErrorKind::unsupported, fmt::format("nothing here quantises to {}", block_format(*type).name)};
    }
    const std::string& name = std::get<std::string>(target);
    if (const Mix* mix = find_mix(name)) return *mix;
    return Error{ErrorKind::usage, fmt::format("{} is no mix of tensor types", printable(name)),
                 fmt::format("One of: {}.", mix_names())};
}

bool is_float(TensorType type) {
    return type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16;
}

Result<std::uint64_t> block_count(const ModelFile& source) {
    LUCEBOX_TRY(const auto architecture, source.get_string("general.architecture"));
    if (!architecture) return Error{ErrorKind::invalid_data, "key \"general.architecture\" is missing"};
    LUCEBOX_TRY(const auto count, source.get_unsigned(*architecture + ".block_count"));
    return count.value_or(0);
}

Status check_source(const Tensor& tensor, TensorType to, bool requantise) {
    if (tensor.type == to || is_float(tensor.type)) return Ok{};
    LUCEBOX_CHECK(check_dequantisable(tensor));
    if (requantise) return Ok{};
    return Error{ErrorKind::usage, fmt::format("tensor {} is {} already", printable(tensor.name), block_format(tensor.type).name),
                 "Start from the F16 or BF16 model; quantising twice loses more than either alone."};
}

void copy_metadata(const ModelFile& source, const Mix& mix, ModelWriter& writer) {
    for (const std::string_view key : source.keys()) {
        // This file is whole, and aligned as the writer does it.
        if (key.starts_with("split.") || key == "general.alignment") continue;
        writer.set_encoded(key, source.encoded_metadata(key));
    }
    writer.set("general.file_type", mix.file_type);
    writer.set("general.quantization_version", quantisation_version);
}

// Converts rows in parallel and keeps the error of the first row that has one, whatever thread finds it.
class RowConverter {
public:
    RowConverter(ThreadPool& pool, const Tensor& tensor, TensorType to)
        : pool_(pool), tensor_(tensor), to_(to), in_bytes_(static_cast<std::size_t>(tensor.row_bytes())),
          out_bytes_(static_cast<std::size_t>(tensor.shape[0] / block_format(to).elements * block_format(to).bytes)),
          rows_(pool.size(), std::vector<float>(static_cast<std::size_t>(tensor.shape[0]))) {}

    std::size_t out_bytes() const { return out_bytes_; }

    Status convert(std::uint64_t first_row, std::span<const std::byte> in, std::span<std::byte> out) {
        const std::size_t count = out.size() / out_bytes_;
        const auto grain = static_cast<std::size_t>(std::max<std::uint64_t>(1, grain_values / tensor_.shape[0]));
        pool_.run(count, grain, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            for (std::size_t row = begin; row < end; ++row) {
                dequantise_row(tensor_.type, in.subspan(row * in_bytes_, in_bytes_), rows_[thread]);
                const auto status = quantise_row(to_, rows_[thread], out.subspan(row * out_bytes_, out_bytes_));
                if (!status) note(first_row + row, status.error());
            }
        });
        if (!error_) return Ok{};
        return Error{error_->kind,
                     fmt::format("tensor {}, row {}: {}", printable(tensor_.name), bad_row_, error_->message)};
    }

private:
    void note(std::uint64_t row, const Error& error) {
        const std::lock_guard lock(mutex_);
        if (error_ && bad_row_ < row) return;
        error_ = error;
        bad_row_ = row;
    }

    ThreadPool& pool_;
    const Tensor& tensor_;
    TensorType to_;
    std::size_t in_bytes_;
    std::size_t out_bytes_;
    std::vector<std::vector<float>> rows_; // one for each thread
    std::mutex mutex_;
    std::optional<Error> error_;
    std::uint64_t bad_row_ = 0;
};

Status convert_tensor(const ModelFile& source, const Tensor& tensor, TensorType to, ThreadPool& pool,
                      ModelWriter& writer) {
    const std::uint64_t row_bytes = tensor.row_bytes();
    const std::uint64_t most_rows = std::max<std::uint64_t>(1, chunk_bytes / row_bytes);
    std::optional<RowConverter> converter;
    if (to != tensor.type) converter.emplace(pool, tensor, to);
    std::vector<std::byte> in;
    std::vector<std::byte> out;
    for (std::uint64_t row = 0; row < tensor.rows(); row += most_rows) {
        const std::uint64_t count = std::min(most_rows, tensor.rows() - row);
        in.resize(static_cast<std::size_t>(count * row_bytes));
        LUCEBOX_CHECK(source.read(tensor, row * row_bytes, in));
        if (converter) {
            out.resize(static_cast<std::size_t>(count) * converter->out_bytes());
            LUCEBOX_CHECK(converter->convert(row, in, out));
        }
        LUCEBOX_CHECK(writer.write(converter ? out : in));
    }
    return Ok{};
}

} // namespace

Status quantise_model(const ModelFile& source, const std::filesystem::path& target, const QuantiseOptions& options) {
    LUCEBOX_TRY(const Mix mix, resolve(options.target));
    LUCEBOX_TRY(const std::uint64_t blocks, block_count(source));
    const auto tensors = source.tensors();
    const std::vector<TensorType> types = plan_types(tensors, blocks, mix);
    ModelWriter writer;
    copy_metadata(source, mix, writer);
    QuantiseProgress progress{{}, {}, {}, 0, tensors.size(), 0, 0};
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        LUCEBOX_CHECK(check_source(tensors[i], types[i], options.requantise));
        LUCEBOX_CHECK(writer.add_tensor(tensors[i].name, types[i], tensors[i].shape));
        progress.total_bytes += tensors[i].data.size();
    }
    LUCEBOX_CHECK(writer.begin(target));
    ThreadPool pool(options.threads);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        progress.tensor = tensors[i].name;
        progress.from = tensors[i].type;
        progress.to = types[i];
        progress.index = i;
        if (options.progress && !options.progress(progress)) {
            return Error{ErrorKind::cancelled, fmt::format("{} was not finished", target.string())};
        }
        LUCEBOX_CHECK(convert_tensor(source, tensors[i], types[i], pool, writer));
        progress.done_bytes += tensors[i].data.size();
    }
    return writer.finish();
}

} // namespace lucebox::gguf
