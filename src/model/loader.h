// Binds a model file's metadata and tensors to a device, by name.
//
// The first thing that is missing or has the wrong shape is remembered and everything later returns an empty value, so
// that an architecture reads as a list of names; it checks status() once, at the end.
#pragma once

#include "gguf/model_file.h"
#include "model/placement.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::model {

class Loader {
public:
    // progress: bytes of tensors loaded so far, of the file's total.
    Loader(const gguf::ModelFile& file, Placement placement, std::function<void(double)> progress = {});

    const Status& status() const { return status_; }
    void fail(ErrorKind kind, std::string message, std::string hint = {});

    std::string_view architecture() const { return architecture_; }
    const Placement& placement() const { return placement_; }
    std::uint64_t weight_bytes() const { return weight_bytes_; }

    // Metadata `<architecture>.<key>`; the ones without a default are required. Sizes are at least 1 and at most 2^24.
    std::size_t size(std::string_view key);
    std::size_t size(std::string_view key, std::size_t otherwise);
    double number(std::string_view key);
    double number(std::string_view key, double otherwise);
    std::string string(std::string_view key, std::string otherwise);
    bool has_key(std::string_view key) const;

    // Tensors; {inputs, outputs} as the file orders dimensions.
    std::unique_ptr<compute::Matrix> matrix(const std::string& name, std::size_t inputs, std::size_t outputs);
    std::unique_ptr<compute::Matrix> matrix_on(compute::Device& device, const std::string& name, std::size_t inputs, std::size_t outputs);
    compute::Vector vector(const std::string& name, std::size_t size); // of any shape with that many values
    bool has(const std::string& name) const { return file_.find(name) != nullptr; }
    // ne1 of a matrix, 0 (and a failure) if absent.
    std::size_t outputs_of(const std::string& name);
    // As it is in the file; a failure, and an empty one, if absent.
    gguf::Tensor tensor(const std::string& name);

private:
    std::string full_key(std::string_view key) const;
    const gguf::Tensor* find(const std::string& name);
    void loaded(const gguf::Tensor& tensor);

    const gguf::ModelFile& file_;
    Placement placement_;
    std::function<void(double)> progress_;
    std::string architecture_;
    Status status_ = Ok{};
    std::uint64_t weight_bytes_ = 0, read_bytes_ = 0;
};

} // namespace lucebox::model
