// Layers in the layout of the kernels, each with the planes that it uses at every precision.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../gemm/lowbit_gemm.h"
#include "tensors.h"

namespace onebit {

inline constexpr int kMostPlanes = 4;

// The decoder's embedding has all planes at every precision, where the allocation gives it no other number.
inline constexpr std::string_view kEmbedding = "decoder.embedding";

// By precision, then by layer: the planes (1, 2 or 4) of layers whose number is not the precision itself, or, for the
// embedding, not kMostPlanes.
using Allocation = std::map<int, std::map<std::string, int>>;

// By precision (1, 2, 4): bits of a weight, 8 for int8.
using PlanesOfPrecision = std::array<int, kMostPlanes + 1>;

// One layer, or several that share an input: their outputs stand side by side.
class Layer {
public:
    Layer() = default;
    Layer(Layer&&) = default;
    Layer& operator=(Layer&&) = default;

    // Y[m, n], n < rows(), of X (m, columns); `workspace` is that of gemm::linear.
    void multiply(const gemm::ConstRows& x, int precision, gemm::Mode mode, const gemm::Rows& y,
                  std::byte* workspace) const;

    void add(gemm::PackedMatrix matrix, const PlanesOfPrecision& planes);

    // The weights of one output at a precision, dequantised: (columns), of a layer that is not stacked.
    void read_row(int row, int precision, float* weights) const;

    int rows() const { return rows_; }
    int columns() const { return parts_.front().matrix.columns; }
    std::size_t resident_bytes() const;

private:
    // Neighbours with the same planes at every precision are one matrix.
    struct Part {
        gemm::PackedMatrix matrix;
        PlanesOfPrecision planes;
        int first_row;
    };

    std::vector<Part> parts_;
    int rows_ = 0;
};

struct LayerShape {
    int rows;
    int columns;
    bool has_bias = true;
};

// Reads layers by the names of the packed file; throws std::invalid_argument naming a tensor that is missing or of
// another shape or type.
class LayerReader {
public:
    LayerReader(const Tensors& tensors, const gemm::Isa& isa, std::span<const int> precisions,
                const Allocation& allocation)
        : tensors_(tensors), isa_(isa), precisions_(precisions), allocation_(allocation) {}

    Layer low_bit(const std::string& name, LayerShape shape) const;
    // Layers of the same shape; those of `without_bias` have none.
    Layer stacked(std::span<const std::string> names, LayerShape shape, const std::string& without_bias) const;
    Layer int8(const std::string& name, int rows, int columns) const;

    PlanesOfPrecision planes_of(const std::string& name) const;
    const TensorReader& tensors() const { return tensors_; }

private:
    TensorReader tensors_;
    const gemm::Isa& isa_;
    std::span<const int> precisions_;
    const Allocation& allocation_;
};

}  // namespace onebit
