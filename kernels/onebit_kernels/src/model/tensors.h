// Named arrays of a packed file, checked on their way in.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace onebit {

enum class Element { uint8, int8, float16, other };

// A C-contiguous array that somebody else owns.
struct Tensor {
    Element element;
    std::vector<std::int64_t> shape;
    const void* data;
};

using Tensors = std::map<std::string, Tensor>;

// Reads tensors by name; every method throws std::invalid_argument naming the tensor that is missing or of another
// shape or type.
class TensorReader {
public:
    explicit TensorReader(const Tensors& tensors) : tensors_(tensors) {}

    bool has(const std::string& name) const { return tensors_.contains(name); }

    std::vector<float> floats(const std::string& name, std::int64_t count) const;  // (count) float16
    std::vector<float> floats(const std::string& name, std::int64_t rows, std::int64_t columns) const;
    const std::int8_t* int8(const std::string& name, std::int64_t rows, std::int64_t columns) const;

    struct Planes {
        const std::uint8_t* data;
        int count;
    };
    // (planes, rows, ceil(columns / 8)) uint8 with at least `needed` planes
    Planes planes(const std::string& name, int needed, std::int64_t rows, std::int64_t columns) const;

private:
    const Tensor& get(const std::string& name, Element element, const std::vector<std::int64_t>& shape) const;

    const Tensors& tensors_;
};

}  // namespace onebit
