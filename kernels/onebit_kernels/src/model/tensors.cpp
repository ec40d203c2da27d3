#include "tensors.h"

#include <cstring>
#include <stdexcept>

#include "../operations/half.h"

namespace onebit {
namespace {

const char* name_of(Element element) {
    switch (element) {
        case Element::uint8:
            return "uint8";
        case Element::int8:
            return "int8";
        case Element::float16:
            return "float16";
        case Element::other:
            break;
    }
    return "another type";
}

std::string described(Element element, const std::vector<std::int64_t>& shape) {
    std::string text = std::string(name_of(element)) + " [";
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

const Tensor& find(const Tensors& tensors, const std::string& name) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw std::invalid_argument("the tensor " + name + " is missing");
    return found->second;
}

std::vector<float> to_floats(const Tensor& tensor, const std::string& name, std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) {
        Half half;
        std::memcpy(&half, static_cast<const std::byte*>(tensor.data) + i * sizeof half, sizeof half);
        if ((half.bits & 0x7c00u) == 0x7c00u)
            throw std::invalid_argument("the tensor " + name + " holds a value that is not finite");
        values[i] = to_float(half);
    }
    return values;
}

}  // namespace

const Tensor& TensorReader::get(const std::string& name, Element element,
                                const std::vector<std::int64_t>& shape) const {
    const Tensor& tensor = find(tensors_, name);
    if (tensor.element != element || tensor.shape != shape)
        throw std::invalid_argument("the tensor " + name + " is " + described(tensor.element, tensor.shape) + ", not " +
                                    described(element, shape));
    return tensor;
}

std::vector<float> TensorReader::floats(const std::string& name, std::int64_t count) const {
    return to_floats(get(name, Element::float16, {count}), name, count);
}

std::vector<float> TensorReader::floats(const std::string& name, std::int64_t rows, std::int64_t columns) const {
    return to_floats(get(name, Element::float16, {rows, columns}), name, rows * columns);
}

const std::int8_t* TensorReader::int8(const std::string& name, std::int64_t rows, std::int64_t columns) const {
    return static_cast<const std::int8_t*>(get(name, Element::int8, {rows, columns}).data);
}

TensorReader::Planes TensorReader::planes(const std::string& name, int needed, std::int64_t rows,
                                          std::int64_t columns) const {
    const Tensor& any = find(tensors_, name);
    const std::int64_t held = any.shape.empty() ? 0 : any.shape[0];
    const std::int64_t expected = held >= needed && held <= 4 ? held : needed;
    const Tensor& tensor = get(name, Element::uint8, {expected, rows, (columns + 7) / 8});
    return {static_cast<const std::uint8_t*>(tensor.data), static_cast<int>(expected)};
}

}  // namespace onebit
