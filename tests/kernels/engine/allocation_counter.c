/* Preloaded in front of the C library: counts every request for memory of the process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>

static atomic_long requests;

long onebit_allocations(void) { return atomic_load(&requests); }

#define FORWARD(result, name, parameters, arguments)                             \
    result name parameters {                                                     \
        static result(*real) parameters;                                         \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);         \
        atomic_fetch_add(&requests, 1);                                          \
        return real arguments;                                                   \
    }

FORWARD(void*, malloc, (size_t size), (size))
FORWARD(void*, realloc, (void* memory, size_t size), (memory, size))
FORWARD(void*, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
FORWARD(int, posix_memalign, (void** memory, size_t alignment, size_t size), (memory, alignment, size))
