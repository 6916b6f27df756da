# The engine on WAMR, as one static library: target wasmbed_wamr. Needs WAMR_ROOT_DIR (2.4.3 is what was run); WAMR itself
# stays as it is. For a Zephyr application include it after project() and link `wasmbed_wamr` into app; outside of
# Zephyr it makes the same library for POSIX.
if(NOT WAMR_ROOT_DIR)
  set(WAMR_ROOT_DIR $ENV{WAMR_ROOT_DIR})
endif()
if(NOT EXISTS ${WAMR_ROOT_DIR}/core/iwasm)
  message(FATAL_ERROR "WAMR_ROOT_DIR does not name a WAMR source tree (2.4.3 is what was run)")
endif()

set(WASMBED_WAMR_DIR ${CMAKE_CURRENT_LIST_DIR})
file(STRINGS ${WASMBED_WAMR_DIR}/sources.txt wasmbed_wamr_sources)
set(wasmbed_wamr_theirs "")
foreach(source ${wasmbed_wamr_sources})
  list(APPEND wasmbed_wamr_theirs ${WAMR_ROOT_DIR}/${source})
endforeach()

set(wasmbed_wamr_ours
  ${WASMBED_WAMR_DIR}/host.c
  ${WASMBED_WAMR_DIR}/module.c
  ${WASMBED_WAMR_DIR}/need.c
  ${WASMBED_WAMR_DIR}/pool.c
  ${WASMBED_WAMR_DIR}/trap.c
  ${WASMBED_WAMR_DIR}/wamr.c
  ${WASMBED_WAMR_DIR}/platform/platform.c)

if(CONFIG_MINIMAL_LIBC)
  list(APPEND wasmbed_wamr_theirs ${WAMR_ROOT_DIR}/core/shared/platform/common/math/math.c)
endif()

add_library(wasmbed_wamr STATIC ${wasmbed_wamr_theirs} ${wasmbed_wamr_ours})
target_include_directories(wasmbed_wamr PUBLIC ${WASMBED_WAMR_DIR} ${WASMBED_WAMR_DIR}/../../core/include PRIVATE
  ${WASMBED_WAMR_DIR}/platform
  ${WAMR_ROOT_DIR}/core/iwasm/include
  ${WAMR_ROOT_DIR}/core/iwasm/common
  ${WAMR_ROOT_DIR}/core/iwasm/interpreter
  ${WAMR_ROOT_DIR}/core/iwasm/libraries/thread-mgr
  ${WAMR_ROOT_DIR}/core/shared/utils
  ${WAMR_ROOT_DIR}/core/shared/mem-alloc
  ${WAMR_ROOT_DIR}/core/shared/platform/include)
target_compile_options(wasmbed_wamr PRIVATE -std=gnu99 -ffunction-sections -fdata-sections
  -include ${WASMBED_WAMR_DIR}/wamr_config.h)
# Their warnings are theirs.
set_source_files_properties(${wasmbed_wamr_theirs} PROPERTIES COMPILE_OPTIONS "-w")
set_source_files_properties(${wasmbed_wamr_ours} PROPERTIES COMPILE_OPTIONS "-Wall;-Wextra;-Werror")

if(ZEPHYR_BASE)
  target_sources(app PRIVATE ${WASMBED_WAMR_DIR}/timer_zephyr.c) # with the rest of what uses the kernel
  target_link_libraries(wasmbed_wamr PRIVATE zephyr_interface)
  # The compiler's own routines come before the application's libraries on Zephyr's command line: once more, behind.
  target_link_libraries(wasmbed_wamr INTERFACE gcc)
  if(CONFIG_MINIMAL_LIBC)
    target_compile_definitions(wasmbed_wamr PRIVATE WASMBED_MINIMAL_LIBC)
  endif()
else()
  find_package(Threads REQUIRED)
  target_sources(wasmbed_wamr PRIVATE ${WASMBED_WAMR_DIR}/timer_posix.c)
  target_link_libraries(wasmbed_wamr PUBLIC Threads::Threads m)
endif()
