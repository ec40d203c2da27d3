// Walks the rows and columns of a product in tiles; the kernels of the instruction set compute one tile each.
#include <algorithm>
#include <cstring>

#include "lowbit_gemm.h"
#include "registry.h"
#include "sizes.h"

namespace onebit::gemm {
namespace {

constexpr std::ptrdiff_t kAlignment = 64;
constexpr int kMaximumTileRows = 16;

// Rows that `linear` prepares at once, multiples of the tile heights 4 and 6: tables of 24 rows stay in a second-level
// cache; of int8 codes, an eighth as large, it takes more, because each block reads the weights again.
constexpr int row_block(Form form) { return form == Form::codes ? 96 : 24; }

std::ptrdiff_t row_bytes(Form form, int columns) {
    const int bytes_per_value = form == Form::tables ? 4 : form == Form::exact_tables ? 8 : 1;
    return round_up(static_cast<std::ptrdiff_t>(bytes_per_value) * padded_columns(columns), kAlignment) + kAlignment;
}

// The caller's workspace, cut into its parts.
struct Workspace {
    float* scales;       // [rows]
    std::int32_t* sums;  // [rows]
    float* padded_row;   // [padded columns]
    std::int8_t* codes;  // [padded columns], the row that exact tables are made from
    std::int8_t* data;   // [rows, row_bytes]
    std::size_t bytes;
};

Workspace cut(std::byte* memory, Form form, int rows, int columns) {
    std::ptrdiff_t used = 0;
    const auto take = [&](std::ptrdiff_t bytes) {
        std::byte* part = memory ? memory + used : nullptr;
        used += round_up(bytes, kAlignment);
        return part;
    };
    Workspace w{};
    w.scales = reinterpret_cast<float*>(take(rows * std::ptrdiff_t{sizeof(float)}));
    w.sums = reinterpret_cast<std::int32_t*>(take(rows * std::ptrdiff_t{sizeof(std::int32_t)}));
    w.padded_row = reinterpret_cast<float*>(take(padded_columns(columns) * std::ptrdiff_t{sizeof(float)}));
    w.codes = reinterpret_cast<std::int8_t*>(take(padded_columns(columns)));
    w.data = reinterpret_cast<std::int8_t*>(take(rows * row_bytes(form, columns)));
    w.bytes = static_cast<std::size_t>(used);
    return w;
}

void prepare_row(const ActivationKernels& kernels, Form form, const float* x, int columns, const Workspace& w, int m) {
    std::int8_t* row = w.data + m * row_bytes(form, columns);
    std::uint8_t* tables = reinterpret_cast<std::uint8_t*>(row);
    const int padded = padded_columns(columns);
    if (padded != columns) {  // the rest of padded_row is zero
        std::memcpy(w.padded_row, x, static_cast<std::size_t>(columns) * sizeof(float));
        x = w.padded_row;
    }
    switch (form) {
        case Form::tables:
            return kernels.tables(x, padded, tables, &w.scales[m]);
        case Form::codes:
            return kernels.quantise(x, padded, row, &w.scales[m], &w.sums[m]);
        case Form::exact_tables:
            kernels.quantise(x, padded, w.codes, &w.scales[m], &w.sums[m]);
            return kernels.exact_tables(w.codes, padded, tables, tables + kGroup * padded);
    }
}

// The rows of a product in tiles of nearly equal height, so that the last one is not a sliver.
template <class Visit>
void for_row_tiles(int rows, int tile_rows, Visit visit) {
    const int tiles = static_cast<int>(ceil_div(rows, tile_rows));
    for (int t = 0, first = 0; t < tiles; ++t) {
        const int count = rows / tiles + (t < rows % tiles ? 1 : 0);
        visit(first, count);
        first += count;
    }
}

// The strips of a product: as many groups of `vectors` as there are, then single ones, then the one that is not full.
template <class Visit>
void for_strip_groups(int columns, const TileShape& shape, Visit visit) {
    const int full = columns / shape.strip_columns, groups = full / shape.vectors, singles = full % shape.vectors;
    if (groups) visit(0, shape.vectors, groups);
    if (singles) visit(full - singles, 1, singles);
    if (columns % shape.strip_columns) visit(full, 1, 1);
}

// Kernels store whole strips; what lies beyond the last column goes through a buffer.
template <class Tile>
void run_partial(void (*kernel)(const Tile&, int, int), Tile tile, int rows, const TileShape& shape, int columns) {
    alignas(kAlignment) float buffer[kMaximumTileRows * kWidestStrip];
    float* const y = tile.out.y;
    const std::ptrdiff_t stride = tile.out.stride;
    tile.out.y = buffer;
    tile.out.stride = shape.strip_columns;
    kernel(tile, rows, 1);
    for (int m = 0; m < rows; ++m) std::copy_n(buffer + m * shape.strip_columns, columns, y + m * stride);
}

template <class Tile>
void run(void (*kernel)(const Tile&, int, int), const Tile& tile, int rows, int vectors, const TileShape& shape,
         int columns_left) {
    if (shape.strip_columns <= columns_left) return kernel(tile, rows, vectors);
    run_partial(kernel, tile, rows, shape, columns_left);
}

Epilogue epilogue(const Prepared& input, const PackedMatrix& w, int bits, const Rows& y, int m, int n) {
    const float* units = w.units[unit_index(bits)].get();
    return {input.scales + m, units + n, w.bias.get() + n, y.data + m * y.stride + n, y.stride};
}

// The planes from the most significant down, each worth twice the next; exact tables the same, first coarse, then fine:
//   2 bits exact = 8 coarse(plane 0) + 4 coarse(plane 1) + 2 fine(plane 0) + fine(plane 1)
int table_passes(const Prepared& input, const PackedMatrix& w, int bits, TablePass (&passes)[4]) {
    const int tables = input.form == Form::exact_tables ? 2 : 1;
    const std::int32_t bias = kTableBias * table_blocks(w) * 2 * w.isa->tables.interleave;
    int count = 0;
    for (int table = 0; table < tables; ++table) {
        for (int plane = 0; plane < bits; ++plane) {
            const int shift = plane == 0 ? 3 - bits : 1;
            passes[count++] = {shift, bias, table * std::ptrdiff_t{kGroup} * padded_columns(input.columns),
                               plane * table_plane_bytes(w)};
        }
    }
    return count;
}

// Rows outside: their tables are large (24 KB at 6 x 1024) and stay in the first-level cache; weights stream past.
void multiply_tables(const Prepared& input, const PackedMatrix& w, int bits, const Rows& y) {
    const TableKernels& kernels = w.isa->tables;
    TablePass passes[4];
    TableTile tile{};
    tile.row_bytes = input.stride;
    tile.strip_bytes = table_strip_bytes(w);
    tile.blocks = table_blocks(w);
    tile.passes = passes;
    tile.pass_count = table_passes(input, w, bits, passes);
    for_row_tiles(input.rows, kernels.shape.rows, [&](int m, int rows) {
        tile.tables = reinterpret_cast<const std::uint8_t*>(input.data) + m * input.stride;
        for_strip_groups(w.rows, kernels.shape, [&](int strip, int vectors, int groups) {
            const int n = strip * kernels.shape.strip_columns;
            tile.groups = groups;
            tile.planes = w.planes.get() + strip * tile.strip_bytes;
            tile.out = epilogue(input, w, bits, y, m, n);
            run(kernels.multiply, tile, rows, vectors, kernels.shape, w.rows - n);
        });
    });
}

// Columns outside: here the weights are the larger part of a tile.
void multiply_dot(const Prepared& input, const PackedMatrix& w, int bits, const Rows& y) {
    const DotKernels& kernels = w.isa->dot;
    DotTile tile{};
    tile.row_bytes = input.stride;
    tile.strip_bytes = dot_strip_bytes(w, bits);
    tile.blocks = dot_blocks(w, bits);
    const auto multiply_group = [&](int strip, int vectors) {
        const int n = strip * kernels.shape.strip_columns;
        tile.weights = w.codes.get() + strip * tile.strip_bytes;
        for_row_tiles(input.rows, kernels.shape.rows, [&](int m, int rows) {
            tile.codes = input.data + m * input.stride;
            tile.sums = input.sums + m;
            tile.out = epilogue(input, w, bits, y, m, n);
            run(bits == 4 ? kernels.multiply4 : kernels.multiply8, tile, rows, vectors, kernels.shape, w.rows - n);
        });
    };
    for_strip_groups(w.rows, kernels.shape, [&](int first, int vectors, int groups) {
        for (int group = 0; group < groups; ++group) multiply_group(first + group * vectors, vectors);
    });
}

}  // namespace

Form input_form(int bits, Mode mode) {
    if (bits > 2) return Form::codes;
    return mode == Mode::exact ? Form::exact_tables : Form::tables;
}

std::size_t workspace_bytes(Form form, int rows, int columns) { return cut(nullptr, form, rows, columns).bytes; }

Prepared prepare(const Isa& isa, Form form, const ConstRows& x, std::byte* workspace) {
    const Workspace w = cut(workspace, form, x.rows, x.columns);
    std::fill_n(w.padded_row, padded_columns(x.columns), 0.0f);
    for (int m = 0; m < x.rows; ++m) prepare_row(isa.activations, form, x.data + m * x.stride, x.columns, w, m);
    return {form, x.rows, x.columns, w.data, row_bytes(form, x.columns), w.scales, w.sums};
}

void multiply(const Prepared& input, const PackedMatrix& weights, int bits, const Rows& y) {
    if (input.form == Form::codes)
        multiply_dot(input, weights, bits, y);
    else
        multiply_tables(input, weights, bits, y);
}

std::size_t linear_workspace_bytes(int columns) {
    std::size_t bytes = 0;
    for (const Form form : {Form::tables, Form::exact_tables, Form::codes})
        bytes = std::max(bytes, workspace_bytes(form, row_block(form), columns));
    return bytes;
}

void linear(const ConstRows& x, const PackedMatrix& weights, int bits, Mode mode, const Rows& y, std::byte* workspace) {
    const Form form = input_form(bits, mode);
    for (int m = 0; m < x.rows; m += row_block(form)) {
        const ConstRows block{x.data + m * x.stride, std::min(row_block(form), x.rows - m), x.columns, x.stride};
        const Prepared input = prepare(*weights.isa, form, block, workspace);
        multiply(input, weights, bits, {y.data + m * y.stride, y.stride});
    }
}

}  // namespace onebit::gemm
