// Between numpy arrays and plain memory.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <memory>
#include <vector>

namespace onebit {

using Samples = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;

// A 1-D float32 array, strided or not, as contiguous memory; throws TypeError for anything else, because integers
// converted in silence would be 32768 times too loud.
class FloatVector {
public:
    explicit FloatVector(const Samples& array) {
        if (array.ndim() != 1 || array.dtype() != nanobind::dtype<float>())
            throw nanobind::type_error("samples must be a 1-D float32 array");
        size_ = array.shape(0);
        data_ = static_cast<const float*>(array.data());
        if (size_ < 2 || array.stride(0) == 1) return;
        copy_.reserve(size_);
        for (std::size_t i = 0; i < size_; ++i) copy_.push_back(data_[static_cast<std::int64_t>(i) * array.stride(0)]);
        data_ = copy_.data();
    }

    const float* data() const { return data_; }
    std::size_t size() const { return size_; }

private:
    std::vector<float> copy_;
    const float* data_;
    std::size_t size_;
};

// A (rows, columns) float32 array that owns its memory.
inline nanobind::object matrix_array(std::vector<float> values, std::size_t columns) {
    auto owned = std::make_unique<std::vector<float>>(std::move(values));
    float* data = owned->data();
    const std::size_t rows = columns ? owned->size() / columns : 0;
    nanobind::capsule owner(owned.release(), [](void* p) noexcept { delete static_cast<std::vector<float>*>(p); });
    return nanobind::cast(nanobind::ndarray<nanobind::numpy, float>(data, {rows, columns}, owner));
}

}  // namespace onebit
