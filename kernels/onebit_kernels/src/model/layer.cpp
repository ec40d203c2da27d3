#include "layer.h"

#include <algorithm>
#include <utility>

namespace onebit {
namespace {

// One low-bit layer of the file, with the float copies of its scales that packing needs.
struct LowBitTensors {
    TensorReader::Planes planes;
    LayerShape shape;
    std::vector<float> scales[kMostPlanes + 1];  // by planes
    std::vector<float> bias;

    gemm::LayerPlanes view() const {
        const auto scale = [&](int planes) { return scales[planes].empty() ? nullptr : scales[planes].data(); };
        return {planes.data, planes.count, shape.rows, shape.columns,
                scale(1),    scale(2),     scale(4),   bias.empty() ? nullptr : bias.data()};
    }
};

std::vector<int> used(const PlanesOfPrecision& planes) {
    std::vector<int> counts;
    for (const int count : {1, 2, 4})
        if (std::ranges::find(planes, count) != planes.end()) counts.push_back(count);
    return counts;
}

LowBitTensors read(const TensorReader& tensors, const std::string& name, LayerShape shape,
                   std::span<const int> counts) {
    LowBitTensors layer;
    layer.shape = shape;
    layer.planes = tensors.planes(name + ".planes", counts.back(), shape.rows, shape.columns);
    for (const int count : counts)
        layer.scales[count] = tensors.floats(name + ".scale" + std::to_string(count), shape.rows);
    if (shape.has_bias) layer.bias = tensors.floats(name + ".bias", shape.rows);
    return layer;
}

}  // namespace

void Layer::add(gemm::PackedMatrix matrix, const PlanesOfPrecision& planes) {
    const int rows = matrix.rows;
    parts_.push_back({std::move(matrix), planes, rows_});
    rows_ += rows;
}

void Layer::multiply(const gemm::ConstRows& x, int precision, gemm::Mode mode, const gemm::Rows& y,
                     std::byte* workspace) const {
    for (const Part& part : parts_)
        gemm::linear(x, part.matrix, part.planes[precision], mode, {y.data + part.first_row, y.stride}, workspace);
}

void Layer::read_row(int row, int precision, float* weights) const {
    const Part& part = parts_.front();
    gemm::unpack_row(part.matrix, row, part.planes[precision], weights);
}

std::size_t Layer::resident_bytes() const {
    std::size_t bytes = 0;
    for (const Part& part : parts_) bytes += part.matrix.resident_bytes;
    return bytes;
}

PlanesOfPrecision LayerReader::planes_of(const std::string& name) const {
    PlanesOfPrecision planes{};
    for (const int precision : precisions_) {
        planes[precision] = name == kEmbedding ? kMostPlanes : precision;
        const auto chosen = allocation_.find(precision);
        if (chosen == allocation_.end()) continue;
        const auto layer = chosen->second.find(name);
        if (layer != chosen->second.end()) planes[precision] = layer->second;
    }
    return planes;
}

Layer LayerReader::low_bit(const std::string& name, LayerShape shape) const {
    return stacked({&name, 1}, shape, shape.has_bias ? "" : name);
}

Layer LayerReader::stacked(std::span<const std::string> names, LayerShape shape,
                           const std::string& without_bias) const {
    Layer layer;
    for (std::size_t first = 0, end; first < names.size(); first = end) {
        const PlanesOfPrecision planes = planes_of(names[first]);
        end = first + 1;
        while (end < names.size() && planes_of(names[end]) == planes) ++end;
        const std::vector<int> counts = used(planes);
        std::vector<LowBitTensors> layers;
        for (const std::string& name : names.subspan(first, end - first))
            layers.push_back(read(tensors_, name, {shape.rows, shape.columns, name != without_bias}, counts));
        std::vector<gemm::LayerPlanes> views;
        for (const LowBitTensors& one : layers) views.push_back(one.view());
        layer.add(gemm::pack_planes(isa_, views, counts), planes);
    }
    return layer;
}

Layer LayerReader::int8(const std::string& name, int rows, int columns) const {
    const std::vector<float> scale = tensors_.floats(name + ".scale8", rows);
    const std::vector<float> bias = tensors_.floats(name + ".bias", rows);
    Layer layer;
    layer.add(
        gemm::pack_int8(isa_, {tensors_.int8(name + ".int8", rows, columns), rows, columns, scale.data(), bias.data()}),
        {8, 8, 8, 8, 8});
    return layer;
}

}  // namespace onebit
