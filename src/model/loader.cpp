#include "model/loader.h"

#include <fmt/format.h>

#include <algorithm>

namespace lucebox::model {
namespace {

constexpr std::uint64_t largest_size = 1u << 24; // no dimension of a language model comes near

} // namespace

Loader::Loader(const gguf::ModelFile& file, Placement placement, std::function<void(double)> progress)
    : file_(file), placement_(std::move(placement)), progress_(std::move(progress)) {
    auto architecture = file.get_string("general.architecture");
    if (!architecture) status_ = architecture.error();
    else if (!*architecture) fail(ErrorKind::invalid_data, "the file has no general.architecture");
    else architecture_ = **architecture;
}

void Loader::fail(ErrorKind kind, std::string message, std::string hint) {
    if (status_) status_ = Error{kind, std::move(message), std::move(hint)};
}

std::string Loader::full_key(std::string_view key) const { return fmt::format("{}.{}", architecture_, key); }

bool Loader::has_key(std::string_view key) const { return file_.metadata(full_key(key)) != nullptr; }

std::size_t Loader::size(std::string_view key) {
    if (status_ && !has_key(key)) fail(ErrorKind::invalid_data, fmt::format("metadata {} is missing", full_key(key)));
    return size(key, 1);
}

std::size_t Loader::size(std::string_view key, std::size_t otherwise) {
    if (!status_) return 1;
    const auto value = file_.get_unsigned(full_key(key));
    if (!value) {
        status_ = value.error();
        return 1;
    }
    if (!*value) return otherwise;
    if (**value == 0 || **value > largest_size) {
        fail(ErrorKind::invalid_data, fmt::format("metadata {} is {}; 1 to {} make sense", full_key(key), **value, largest_size));
        return 1;
    }
    return static_cast<std::size_t>(**value);
}

double Loader::number(std::string_view key) {
    if (status_ && !has_key(key)) fail(ErrorKind::invalid_data, fmt::format("metadata {} is missing", full_key(key)));
    return number(key, 1);
}

double Loader::number(std::string_view key, double otherwise) {
    if (!status_) return otherwise;
    const auto value = file_.get_number(full_key(key));
    if (!value) {
        status_ = value.error();
        return otherwise;
    }
    return value->value_or(otherwise);
}

std::string Loader::string(std::string_view key, std::string otherwise) {
    if (!status_) return otherwise;
    auto value = file_.get_string(full_key(key));
    if (!value) {
        status_ = value.error();
        return otherwise;
    }
    return *value ? **value : otherwise;
}

const gguf::Tensor* Loader::find(const std::string& name) {
    if (!status_) return nullptr;
    const gguf::Tensor* tensor = file_.find(name);
    if (!tensor) fail(ErrorKind::invalid_data, fmt::format("tensor {} is missing", name));
    return tensor;
}

std::size_t Loader::outputs_of(const std::string& name) {
    const gguf::Tensor* tensor = find(name);
    return tensor ? tensor->rows() : 0;
}

gguf::Tensor Loader::tensor(const std::string& name) {
    const gguf::Tensor* tensor = find(name);
    return tensor ? *tensor : gguf::Tensor{};
}

void Loader::loaded(const gguf::Tensor& tensor) {
    read_bytes_ += tensor.data.size();
    if (progress_) progress_(std::min(1.0, static_cast<double>(read_bytes_) / static_cast<double>(file_.file_bytes())));
}

std::unique_ptr<compute::Matrix> Loader::matrix(const std::string& name, std::size_t inputs, std::size_t outputs) {
    return matrix_on(placement_.of_tensor(name), name, inputs, outputs);
}

std::unique_ptr<compute::Matrix> Loader::matrix_on(compute::Device& device, const std::string& name, std::size_t inputs,
                                                   std::size_t outputs) {
    const gguf::Tensor* tensor = find(name);
    if (!tensor) return nullptr;
    if (tensor->shape[0] != inputs || tensor->rows() != outputs || tensor->shape[1] != outputs) {
        fail(ErrorKind::invalid_data, fmt::format("tensor {} has shape {}x{}; the model's metadata says {}x{}", name,
                                                  tensor->shape[0], tensor->rows(), inputs, outputs));
        return nullptr;
    }
    auto matrix = device.load_matrix(*tensor);
    if (!matrix) {
        status_ = matrix.error();
        return nullptr;
    }
    weight_bytes_ += (*matrix)->bytes();
    loaded(*tensor);
    return std::move(*matrix);
}

compute::Vector Loader::vector(const std::string& name, std::size_t size) {
    const gguf::Tensor* tensor = find(name);
    if (!tensor) return {};
    if (tensor->elements() != size) {
        fail(ErrorKind::invalid_data,
             fmt::format("tensor {} has {} values; the model's metadata says {}", name, tensor->elements(), size));
        return {};
    }
    auto vector = placement_.of_tensor(name).load_vector(*tensor);
    if (!vector) {
        status_ = vector.error();
        return {};
    }
    weight_bytes_ += vector->size * sizeof(float);
    loaded(*tensor);
    return std::move(*vector);
}

} // namespace lucebox::model
