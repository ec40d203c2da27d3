# Sources of the low-bit products and the flags of each: one translation unit per instruction set, nothing beyond the
# compiler's default elsewhere. Sets ONEBIT_GEMM_SOURCES.
set(gemm_directory ${CMAKE_CURRENT_LIST_DIR})
set(ONEBIT_GEMM_SOURCES
  ${gemm_directory}/cpu_features.cpp
  ${gemm_directory}/generic.cpp
  ${gemm_directory}/multiply.cpp
  ${gemm_directory}/packing.cpp
  ${gemm_directory}/registry.cpp)

function(onebit_gemm_isa name)
  set(ONEBIT_GEMM_SOURCES ${ONEBIT_GEMM_SOURCES} ${gemm_directory}/${name}.cpp PARENT_SCOPE)
  set_property(SOURCE ${gemm_directory}/${name}.cpp APPEND PROPERTY COMPILE_OPTIONS ${ARGN})
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # gcc 12 takes the undefined operand inside its own AVX-512 intrinsics for an uninitialised variable.
  set(avx512 -mavx512f -mavx512bw -Wno-uninitialized $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  onebit_gemm_isa(avx512 ${avx512})
  onebit_gemm_isa(avx512vnni ${avx512} -mavx512vnni)
  onebit_gemm_isa(avx512vbmi ${avx512} -mavx512vnni -mavx512vbmi)
endif()

# Every instruction set rounds alike: a product and a sum are never fused behind the code's back.
set_property(SOURCE ${ONEBIT_GEMM_SOURCES} APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=off)
