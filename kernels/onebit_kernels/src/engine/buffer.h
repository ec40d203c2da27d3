// Memory of an engine: 64-byte aligned, grows to the largest use and stays.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace onebit {

template <class T>
class Buffer {
public:
    // At least `count` elements, contents undefined after growth.
    T* ensure(std::size_t count) {
        if (count > capacity_) {
            memory_.reset();
            capacity_ = 0;
            constexpr std::size_t kAlignment = 64;
            const std::size_t bytes = (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
            memory_.reset(static_cast<T*>(std::aligned_alloc(kAlignment, bytes)));
            if (!memory_) throw std::bad_alloc();
            capacity_ = count;
        }
        return memory_.get();
    }

    T* data() const { return memory_.get(); }
    std::size_t bytes() const { return capacity_ * sizeof(T); }

private:
    struct Free {
        void operator()(T* memory) const { std::free(memory); }
    };
    std::unique_ptr<T[], Free> memory_;
    std::size_t capacity_ = 0;
};

}  // namespace onebit
