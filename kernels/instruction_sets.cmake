# How the kernels are compiled for the processors that there are: for the package, and for the tests that are built for
# another architecture than that of the machine (tests/aarch64).
find_package(Threads REQUIRED)

# Vectorised, and the same floats whatever the vectors' width.
set(RAREFY_SAME_FLOATS
    "$<$<NOT:$<CXX_COMPILER_ID:MSVC>>:-O3;-ffp-contract=off;-fno-math-errno;-fno-trapping-math>")

# Give a target the integer layers in all instruction sets of its architecture. It must be built without LTO.
function(rarefy_add_instruction_sets target)
  set(folder ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  target_link_libraries(${target} PRIVATE Threads::Threads)
  target_sources(${target} PRIVATE ${folder}/int8_plain.cpp)
  set_source_files_properties(
    ${folder}/int8_plain.cpp PROPERTIES COMPILE_OPTIONS "$<$<NOT:$<CXX_COMPILER_ID:MSVC>>:-O3>")
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    return()
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
    target_sources(${target} PRIVATE ${folder}/int8_avx2.cpp ${folder}/int8_avx512.cpp)
    target_compile_definitions(${target} PRIVATE RAREFY_X86)
    set_source_files_properties(${folder}/int8_avx2.cpp PROPERTIES COMPILE_OPTIONS "-O3;-mavx2")
    set_source_files_properties(
      ${folder}/int8_avx512.cpp PROPERTIES COMPILE_OPTIONS
      "-O3;-mavx512f;-mavx512bw;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512")
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "x86_64")
    target_sources(${target} PRIVATE ${folder}/int8_neon.cpp ${folder}/int8_dotprod.cpp)
    target_compile_definitions(${target} PRIVATE RAREFY_ARM)
    set_source_files_properties(${folder}/int8_neon.cpp PROPERTIES COMPILE_OPTIONS "-O3")
    set_source_files_properties(
      ${folder}/int8_dotprod.cpp PROPERTIES COMPILE_OPTIONS "-O3;-march=armv8.2-a+dotprod")
  endif()
endfunction()

# Give a target the coder's loops beyond the plain ones, which are in headers. It must be built without LTO.
function(rarefy_add_coder_loops target)
  set(folder ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  target_link_libraries(${target} PRIVATE Threads::Threads)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$"
     AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
    target_sources(${target} PRIVATE ${folder}/rans_avx512.cpp)
    target_compile_definitions(${target} PRIVATE RAREFY_X86)
    set_source_files_properties(
      ${folder}/rans_avx512.cpp PROPERTIES COMPILE_OPTIONS
      "-O3;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512cd;-mavx512vbmi2;-mbmi;-mbmi2;-mpopcnt")
  endif()
endfunction()

# Give a target the lattice bottleneck's loops in all instruction sets. It must be built without LTO.
function(rarefy_add_lattice_loops target)
  set(folder ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  target_link_libraries(${target} PRIVATE Threads::Threads)
  set_source_files_properties(
    ${folder}/lattice.cpp PROPERTIES COMPILE_OPTIONS "$<$<NOT:$<CXX_COMPILER_ID:MSVC>>:-O3>")
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$"
     AND NOT CMAKE_OSX_ARCHITECTURES MATCHES "arm64")
    target_sources(${target} PRIVATE ${folder}/lattice_avx2.cpp ${folder}/lattice_avx512.cpp)
    target_compile_definitions(${target} PRIVATE RAREFY_X86)
    set_source_files_properties(${folder}/lattice_avx2.cpp PROPERTIES COMPILE_OPTIONS "-O3;-mavx2")
    set_source_files_properties(
      ${folder}/lattice_avx512.cpp PROPERTIES COMPILE_OPTIONS
      "-O3;-mavx512f;-mavx512bw;-mavx512vl;-mavx512vnni;-mprefer-vector-width=512")
  endif()
endfunction()
