# One object library per instruction set: the same sources, other flags, another inner namespace (QVNO_ISA).
# csrc/cpu/dispatch.cpp is compiled once, for the baseline, and chooses among them at run time.
# Needs TORCH_INCLUDE_DIRS; sets QVNO_CPU_ISA_TARGETS, to be linked into the library in this order.

set(QVNO_CSRC ${CMAKE_CURRENT_LIST_DIR}/../csrc)
file(GLOB QVNO_CPU_SOURCES CONFIGURE_DEPENDS ${QVNO_CSRC}/ops/*/cpu.cpp)
list(APPEND QVNO_CPU_SOURCES ${QVNO_CSRC}/cpu/attention.cpp ${QVNO_CSRC}/cpu/peaks.cpp
     ${QVNO_CSRC}/cpu/table.cpp)

# Baseline first: of an inline function (std, c10) that several objects hold, the linker keeps the first
# copy, and that one must run on every machine.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(QVNO_CPU_ISAS portable avx2 avx512 avx512_bf16)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(QVNO_CPU_ISAS neon)
else()
  set(QVNO_CPU_ISAS portable)
endif()

# CPU_CAPABILITY is the inline namespace of at::vec, so each instruction set has its own there too.
set(QVNO_FLAGS_portable -DCPU_CAPABILITY=DEFAULT -DCPU_CAPABILITY_DEFAULT)
set(QVNO_FLAGS_neon ${QVNO_FLAGS_portable})
set(QVNO_FLAGS_avx2 -DCPU_CAPABILITY=AVX2 -DCPU_CAPABILITY_AVX2 -mavx2 -mfma -mf16c)
set(QVNO_FLAGS_avx512_common -DCPU_CAPABILITY_AVX512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c
    -mprefer-vector-width=512)
set(QVNO_FLAGS_avx512 -DCPU_CAPABILITY=AVX512 ${QVNO_FLAGS_avx512_common})
set(QVNO_FLAGS_avx512_bf16 -DCPU_CAPABILITY=AVX512_BF16 ${QVNO_FLAGS_avx512_common} -mavx512bf16)

set(QVNO_CPU_ISA_TARGETS)
foreach(isa IN LISTS QVNO_CPU_ISAS)
  set(target qvno_cpu_${isa})
  add_library(${target} OBJECT ${QVNO_CPU_SOURCES})
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_compile_definitions(${target} PRIVATE QVNO_ISA=${isa})
  target_include_directories(${target} PRIVATE ${QVNO_CSRC})
  target_include_directories(${target} SYSTEM PRIVATE ${TORCH_INCLUDE_DIRS})
  target_compile_options(${target} PRIVATE $<IF:$<BOOL:${QVNO_SANITIZE}>,-O1,-O3> -Wall -Wextra -Wno-psabi -Wno-uninitialized
                         -Wno-maybe-uninitialized ${QVNO_FLAGS_${isa}})
  list(APPEND QVNO_CPU_ISA_TARGETS ${target})
endforeach()
