# Sources of the low-bit products; an instruction set of kernels.inc has its line here, with the flags of its file.
list(APPEND SOURCES
  ${SRC}/gemm/cpu_features.cpp
  ${SRC}/gemm/multiply.cpp
  ${SRC}/gemm/packing.cpp
  ${SRC}/gemm/registry.cpp
  ${SRC}/gemm/isa/generic.cpp
)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND SOURCES ${SRC}/gemm/isa/ceilings_x86.cpp)
  isa_source(gemm/isa/ssse3.cpp -mssse3)
  isa_source(gemm/isa/avx2.cpp -mavx2)
  isa_source(gemm/isa/avxvnni.cpp -mavx2 -mavxvnni)
  isa_source(gemm/isa/avx512.cpp -mavx512f -mavx512bw)
  isa_source(gemm/isa/avx512vbmi.cpp -mavx512f -mavx512bw -mavx512vnni -mavx512vbmi)
  isa_source(gemm/isa/avx512vnni.cpp -mavx512f -mavx512bw -mavx512vnni)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  list(APPEND SOURCES ${SRC}/gemm/isa/ceilings_aarch64.cpp)
  isa_source(gemm/isa/neon.cpp)
  isa_source(gemm/isa/neon_dotprod.cpp -march=armv8.2-a+dotprod)
else()
  list(APPEND SOURCES ${SRC}/gemm/isa/ceilings_generic.cpp)
endif()
