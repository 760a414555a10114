# The CUDA part of the compute layer: src/compute/cuda. The runtime is linked statically and finds the driver when the
# program starts, so that the same program runs where there is none.
#
# CMAKE_CUDA_ARCHITECTURES lists machine code ("90a-real") and PTX ("75-virtual"); the presets `cuda` and `cuda-dev` set it.
enable_language(CUDA)
find_package(CUDAToolkit 12.8 REQUIRED)

if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 is older than the first nvcc that could
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/compute/cuda/*.cu
  ${PROJECT_SOURCE_DIR}/src/compute/cuda/*.cpp)
target_sources(lucebox_compute PRIVATE ${cuda_sources})
target_compile_definitions(lucebox_compute PRIVATE LUCEBOX_CUDA) # others ask compute/devices.h
target_link_libraries(lucebox_compute PRIVATE CUDA::cudart_static)
if(LUCEBOX_STEP_TRACE)
  target_compile_definitions(lucebox_compute PRIVATE LUCEBOX_STEP_TRACE)
endif()

# a*b+c is contracted everywhere, at every place the same way: kernels that must agree bit for bit share their arithmetic
# as functions, and say __fmaf_rn or __fmul_rn where it matters. No fast-math: divisions and roots are rounded as IEEE says.
set(cuda_host_warnings -Wall,-Wextra,-Wno-unused-parameter)
target_compile_options(lucebox_compute PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=true;--expt-relaxed-constexpr;-lineinfo;-Werror=all-warnings;-Xcompiler=${cuda_host_warnings}>")
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)
  target_compile_options(lucebox_compute PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>")
endif()
