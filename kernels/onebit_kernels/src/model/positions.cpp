#include "positions.h"

#include <cmath>

namespace onebit {

void write_position(int position, int dim, float* row) {
    const int half = dim / 2;
    const double step = std::log(10000.0) / (half - 1);
    for (int i = 0; i < half; ++i) {
        const double angle = position * std::exp(-step * i);
        row[i] = static_cast<float>(std::sin(angle));
        row[half + i] = static_cast<float>(std::cos(angle));
    }
}

std::vector<float> fine_position_table(int dim) {
    std::vector<float> table(static_cast<std::size_t>(kFinePositions) * dim);
    for (int p = 0; p < kFinePositions; ++p) write_position(p, dim, table.data() + static_cast<std::size_t>(p) * dim);
    return table;
}

}  // namespace onebit
