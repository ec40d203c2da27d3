// The encoder's output of one segment, as streams remember it for the attention decoder: (frames, dim) elements of a
// cache. At most 30 s of it, and the system lends memory only for what was written.
#pragma once

#include <algorithm>
#include <cstddef>

#include "../operations/operations.h"
#include "buffer.h"

namespace onebit {

class EncodedFrames {
public:
    EncodedFrames(const CacheOperations& cache, int dim, int capacity)
        : cache_(&cache), dim_(dim), capacity_(capacity) {
        memory_.ensure(row_bytes() * static_cast<std::size_t>(capacity));
    }

    // The first `frames` of another one.
    EncodedFrames(const EncodedFrames& other, int frames) : EncodedFrames(*other.cache_, other.dim_, frames) {
        std::copy_n(other.memory_.data(), row_bytes() * static_cast<std::size_t>(frames), memory_.data());
        frames_ = frames;
    }

    // Rows (count, dim) of the step that `append` ends, `first` of its rows behind those that are there. Rows that find
    // no room are dropped. Tasks of one step may write at the same time.
    void write(int first, const float* rows, int count) {
        const int place = frames_ + first, fitting = std::min(count, capacity_ - place);
        if (fitting <= 0) return;
        cache_->write(rows, memory_.data() + row_bytes() * static_cast<std::size_t>(place),
                      static_cast<std::size_t>(fitting) * dim_);
    }
    void append(int count) { frames_ = std::min(frames_ + count, capacity_); }
    void clear() { frames_ = 0; }

    int frames() const { return frames_; }

    // Rows first .. first + count - 1, as float32.
    void read(int first, int count, float* rows) const {
        cache_->read(memory_.data() + row_bytes() * static_cast<std::size_t>(first), rows,
                     static_cast<std::size_t>(count) * dim_);
    }

    std::size_t resident_bytes() const { return row_bytes() * static_cast<std::size_t>(frames_); }

private:
    std::size_t row_bytes() const { return dim_ * cache_->element_bytes; }

    const CacheOperations* cache_;
    int dim_;
    int capacity_;
    int frames_ = 0;
    Buffer<std::byte> memory_;
};

}  // namespace onebit
