// How the rows of several streams are stacked and cut for one step.
//
//   span   all rows of one stream in this step
//   piece  rows of one span: one key block, one run of the convolution; a chunk is one piece, a segment is cut every
//          kPieceRows
//   tile   consecutive pieces of together up to kTileMaximumRows rows: what row-wise layers work on while it is in the
//          cache
#pragma once

#include <vector>

namespace onebit {

inline constexpr int kLongestChunk = 64;     // rows
inline constexpr int kPieceRows = 48;        // of a segment: a multiple of 16 and of the heights of the products' tiles
inline constexpr int kTileMaximumRows = 64;  // their inputs and outputs fit a second-level cache

struct Piece {
    int span;
    int row;  // in the stacked matrix
    int rows;
    int capacity;  // frames of its key block
    int place;     // of its key block: frames of all capacities before it
    bool first;    // of its span
    bool last;
};

struct Tile {
    int row;
    int rows;
    int first_piece;
    int pieces;
};

struct SpanRows {
    int rows;
    int capacity;  // of one key block; 0: as the pieces need
};

struct Layout {
    std::vector<Piece> pieces;
    std::vector<Tile> tiles;
    std::vector<int> first_piece_of_span;  // one more than spans
    int rows = 0;
    int key_frames = 0;  // capacities of all key blocks

    void build(const std::vector<SpanRows>& spans);

private:
    void add_piece(const Piece& piece);
};

}  // namespace onebit
