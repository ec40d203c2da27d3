#include "layout.h"

#include <algorithm>

namespace onebit {
namespace {

constexpr int kCapacityQuantum = 16;

int padded(int rows) { return (rows + kCapacityQuantum - 1) / kCapacityQuantum * kCapacityQuantum; }

}  // namespace

void Layout::build(const std::vector<SpanRows>& spans) {
    pieces.clear();
    tiles.clear();
    first_piece_of_span.clear();
    rows = key_frames = 0;
    for (int s = 0; s < static_cast<int>(spans.size()); ++s) {
        first_piece_of_span.push_back(static_cast<int>(pieces.size()));
        const int longest = spans[s].capacity ? kLongestChunk : kPieceRows;
        for (int done = 0; done < spans[s].rows; done += longest) {
            const int count = std::min(longest, spans[s].rows - done);
            const int capacity = spans[s].capacity ? spans[s].capacity : padded(count);
            add_piece({s, rows, count, capacity, key_frames, done == 0, done + count == spans[s].rows});
        }
    }
    first_piece_of_span.push_back(static_cast<int>(pieces.size()));
}

void Layout::add_piece(const Piece& piece) {
    if (tiles.empty() || tiles.back().rows + piece.rows > kTileMaximumRows)
        tiles.push_back({piece.row, 0, static_cast<int>(pieces.size()), 0});
    tiles.back().rows += piece.rows;
    ++tiles.back().pieces;
    pieces.push_back(piece);
    rows += piece.rows;
    key_frames += piece.capacity;
}

}  // namespace onebit
