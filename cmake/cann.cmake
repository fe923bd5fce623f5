# The NPU side, a project of its own in csrc/npu, built where CANN is: with ASCEND_HOME_PATH or ASCEND_TOOLKIT_HOME set.
# QVNO_NPU=OFF leaves it out all the same, ON insists on it. A CANN that cannot build it is an error, once and in full:
# a package that silently lacks its kernels helps nobody who has an NPU.
set(QVNO_NPU AUTO CACHE STRING "Build the NPU kernels: AUTO (where CANN is), ON or OFF")
set_property(CACHE QVNO_NPU PROPERTY STRINGS AUTO ON OFF)
set(SOC_VERSION "$ENV{SOC_VERSION}" CACHE STRING "The chip, as CANN names it: ascend910b1, ... (asked of npu-smi if empty)")

set(QVNO_WITHOUT_NPU "To build without NPU kernels set QWEN_VL_NPU_OPS_NPU=off (CMake: -DQVNO_NPU=OFF).")

# Sets `result` to the first of the files or folders under `root` that exists, or to "".
function(qvno_first_existing result root)
  set(${result} "" PARENT_SCOPE)
  foreach(name IN LISTS ARGN)
    if(EXISTS ${root}/${name})
      set(${result} ${root}/${name} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# Sets `result` to the chip that npu-smi finds, as CANN's SOC_VERSION, or to "".
function(qvno_detect_soc result)
  set(${result} "" PARENT_SCOPE)
  find_program(QVNO_NPU_SMI npu-smi)
  if(NOT QVNO_NPU_SMI)
    return()
  endif()
  execute_process(COMMAND ${QVNO_NPU_SMI} info -l OUTPUT_VARIABLE list ERROR_QUIET)
  if(NOT list MATCHES "NPU ID[ \t]*:[ \t]*([0-9]+)")
    return()
  endif()
  execute_process(COMMAND ${QVNO_NPU_SMI} info -t board -i ${CMAKE_MATCH_1} -c 0 OUTPUT_VARIABLE board ERROR_QUIET)
  # "Chip Type : Ascend", "Chip Name : 910B1".
  if(board MATCHES "Chip Name[ \t]*:[ \t]*([A-Za-z0-9-]+)")
    string(TOLOWER "${CMAKE_MATCH_1}" chip)
    if(NOT chip MATCHES "^ascend")
      set(chip "ascend${chip}")
    endif()
    set(${result} ${chip} PARENT_SCOPE)
  endif()
endfunction()

# Sets QVNO_NPU_FOUND and, with it, what csrc/npu needs: ASCEND_HOME_PATH, ASCENDC_CMAKE_DIR, TORCH_NPU_PATH, SOC_VERSION.
function(qvno_find_cann)
  set(QVNO_NPU_FOUND OFF PARENT_SCOPE)
  if(QVNO_NPU STREQUAL "OFF")
    message(STATUS "NPU kernels: left out, as asked")
    return()
  endif()
  set(home "$ENV{ASCEND_HOME_PATH}")
  if(NOT home)
    set(home "$ENV{ASCEND_TOOLKIT_HOME}")
  endif()
  if(NOT home)
    if(QVNO_NPU STREQUAL "ON")
      message(FATAL_ERROR "NPU kernels were asked for, but there is no CANN: neither ASCEND_HOME_PATH nor "
                          "ASCEND_TOOLKIT_HOME is set. Run its set_env.sh first.")
    endif()
    message(STATUS "NPU kernels: none, as ASCEND_HOME_PATH is not set")
    return()
  endif()

  set(arch ${CMAKE_SYSTEM_PROCESSOR}-linux)
  set(missing)
  qvno_first_existing(cmake_file ${home} tools/tikcpp/ascendc_kernel_cmake/ascendc.cmake
                      compiler/tikcpp/ascendc_kernel_cmake/ascendc.cmake
                      ${arch}/tikcpp/ascendc_kernel_cmake/ascendc.cmake)
  if(NOT cmake_file)
    list(APPEND missing "tikcpp/ascendc_kernel_cmake/ascendc.cmake in tools/, compiler/ or ${arch}/ (of the toolkit package)")
  endif()
  set(compilers)
  foreach(folder IN ITEMS ${arch} tools compiler)
    list(APPEND compilers ${folder}/ccec_compiler/bin/bisheng ${folder}/ccec_compiler/bin/ccec)
  endforeach()
  qvno_first_existing(compiler ${home} ${compilers})
  if(NOT compiler)
    list(APPEND missing "the kernel compiler, ccec_compiler/bin/bisheng in ${arch}/, tools/ or compiler/")
  endif()
  qvno_first_existing(runtime ${home} lib64/libascendcl.so ${arch}/lib64/libascendcl.so)
  if(NOT runtime)
    list(APPEND missing "the runtime, lib64/libascendcl.so")
  endif()
  # Not imported: that would load CANN's runtime and look for a device.
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c
            "import importlib.util as u; s = u.find_spec('torch_npu'); print(s.submodule_search_locations[0] if s else '', end='')"
    OUTPUT_VARIABLE torch_npu ERROR_QUIET)
  if(NOT EXISTS "${torch_npu}/lib/libtorch_npu.so")
    list(APPEND missing "torch_npu, which ${Python_EXECUTABLE} does not find")
  endif()
  find_program(QVNO_MAKE make)
  if(NOT QVNO_MAKE)
    list(APPEND missing "make, as CANN's build rules write makefiles")
  endif()
  if(NOT SOC_VERSION)
    qvno_detect_soc(SOC_VERSION)
  endif()
  if(NOT SOC_VERSION)
    list(APPEND missing "the chip's name: npu-smi does not tell it, so set SOC_VERSION (ascend910b1 to ascend910b4)")
  elseif(NOT SOC_VERSION MATCHES "^[Aa]scend910[Bb][1-4]$")
    list(APPEND missing "kernels for ${SOC_VERSION}: there are some for ascend910b1 to ascend910b4")
  endif()
  if(missing)
    list(JOIN missing "\n    - " missing)
    message(FATAL_ERROR "CANN at ${home} cannot build the NPU kernels. Missing:\n    - ${missing}\n  ${QVNO_WITHOUT_NPU}")
  endif()

  get_filename_component(cmake_dir ${cmake_file} DIRECTORY)
  message(STATUS "NPU kernels: for ${SOC_VERSION}, with CANN at ${home} and torch_npu at ${torch_npu}")
  set(QVNO_NPU_FOUND ON PARENT_SCOPE)
  set(ASCEND_HOME_PATH ${home} PARENT_SCOPE)
  set(ASCENDC_CMAKE_DIR ${cmake_dir} PARENT_SCOPE)
  set(TORCH_NPU_PATH ${torch_npu} PARENT_SCOPE)
  set(SOC_VERSION ${SOC_VERSION} PARENT_SCOPE)
endfunction()

# Builds csrc/npu beside this project and installs its libraries into `destination`.
function(qvno_add_npu destination)
  include(ExternalProject)
  set(tree ${CMAKE_BINARY_DIR}/npu)
  # Makefiles: CANN 8 links a kernel library a second time, with the command that it reads out of link.txt.
  ExternalProject_Add(qwen_vl_npu_ops_npu
    SOURCE_DIR ${CMAKE_SOURCE_DIR}/csrc/npu
    BINARY_DIR ${tree}
    CMAKE_GENERATOR "Unix Makefiles"
    CMAKE_ARGS
      -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}
      -DTorch_DIR=${Torch_DIR}
      -DPython_EXECUTABLE=${Python_EXECUTABLE}
      -DTORCH_NPU_PATH=${TORCH_NPU_PATH}
      -DQVNO_LIBRARY=$<TARGET_FILE:qwen_vl_npu_ops>
      -DASCEND_HOME_PATH=${ASCEND_HOME_PATH}
      -DASCENDC_CMAKE_DIR=${ASCENDC_CMAKE_DIR}
      -DSOC_VERSION=${SOC_VERSION}
    BUILD_ALWAYS ON
    INSTALL_COMMAND ""
    DEPENDS qwen_vl_npu_ops)
  install(FILES ${tree}/libqwen_vl_npu_ops_npu.so ${tree}/lib/libqwen_vl_npu_ops_device.so DESTINATION ${destination})
endfunction()
