# The CUDA backend: backend/cuda, by nvcc. Sets LT_CUDA_LAYER and LT_CUDA_LINK, empty without it.
# The runtime is linked statically and finds the driver when a device is opened; cuBLASLt and cuDNN
# are opened with dlopen (backend/cuda/lib.cu): the program starts on machines that have none of them.
set(LT_CUDA_LAYER "")
set(LT_CUDA_LINK "")
# Machine code for a card that is here; else for Ampere and Hopper. 80 and 90 bring PTX for the rest.
set(LT_CUDA_ARCHS "" CACHE STRING "CUDA architectures, e.g. 80;90a;100; empty: native, or 80;90a")

if(LT_CUDA STREQUAL "AUTO" AND LT_SANITIZE)
  set(cuda_wanted OFF) # nothing of it would be checked: tests/shim is what runs under sanitizers
elseif(LT_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  set(cuda_wanted ${CMAKE_CUDA_COMPILER})
else()
  set(cuda_wanted ${LT_CUDA})
endif()

if(cuda_wanted)
  if(NOT CMAKE_CUDA_ARCHITECTURES) # before the language: CMake would take its own default
    if(LT_CUDA_ARCHS)
      set(CMAKE_CUDA_ARCHITECTURES ${LT_CUDA_ARCHS})
    elseif(EXISTS /dev/nvidia0)
      set(CMAKE_CUDA_ARCHITECTURES native)
    else()
      set(CMAKE_CUDA_ARCHITECTURES 80 90a)
    endif()
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  file(GLOB cuda_src CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/backend/cuda/*.cu)
  add_library(lt_cuda STATIC ${cuda_src})
  set_target_properties(lt_cuda PROPERTIES CUDA_VISIBILITY_PRESET hidden)
  target_include_directories(lt_cuda PUBLIC ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/include)
  target_compile_options(lt_cuda PRIVATE -Xcompiler=-Wall,-Wextra
    $<$<BOOL:${LT_WERROR}>:-Werror=all-warnings>)
  target_link_libraries(lt_cuda PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS} rt)
  set(LT_CUDA_LAYER lt_cuda)
  set(LT_CUDA_PC " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
  set(LT_CUDA_LINK CUDA::cudart_static ${CMAKE_DL_LIBS} rt)
  message(STATUS "CUDA backend: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")
else()
  message(STATUS "CUDA backend: not built (LT_CUDA=${LT_CUDA})")
endif()
