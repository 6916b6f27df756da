# The port's and the core's sources into the Zephyr application `app`. WASMBED_FIRMWARE_DIR is firmware/.
set(WASMBED_PORT_DIR ${WASMBED_FIRMWARE_DIR}/port/zephyr)
set(WASMBED_CORE_DIR ${WASMBED_FIRMWARE_DIR}/core)

if(NOT WASMBED_VERSION)
  execute_process(COMMAND git describe --tags --always --dirty WORKING_DIRECTORY ${WASMBED_FIRMWARE_DIR}
    OUTPUT_VARIABLE WASMBED_VERSION OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT WASMBED_VERSION)
  set(WASMBED_VERSION dev)
endif()

file(GLOB WASMBED_CORE_SOURCES CONFIGURE_DEPENDS ${WASMBED_CORE_DIR}/src/*.c)
target_sources(app PRIVATE ${WASMBED_CORE_SOURCES})
foreach(file board console fault random provision serial_line storage watchdog)
  target_sources(app PRIVATE ${WASMBED_PORT_DIR}/${file}.c)
endforeach()
if(CONFIG_WASMBED_TRANSPORT_SERIAL)
  target_sources(app PRIVATE ${WASMBED_PORT_DIR}/serial_stream.c)
else()
  target_sources(app PRIVATE ${WASMBED_PORT_DIR}/net_stream.c)
endif()
if(CONFIG_WASMBED_RAM_FLASH)
  target_sources(app PRIVATE ${WASMBED_PORT_DIR}/ram_flash.c)
endif()

target_include_directories(app PRIVATE ${WASMBED_CORE_DIR}/include ${WASMBED_CORE_DIR}/src ${WASMBED_PORT_DIR})
target_compile_definitions(app PRIVATE WASMBED_VERSION="${WASMBED_VERSION}")
target_compile_options(app PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-type-limits)

include(${WASMBED_PORT_DIR}/mbedtls.cmake)
include(${WASMBED_FIRMWARE_DIR}/runtime/wamr/wamr.cmake)
target_sources(app PRIVATE ${WASMBED_TLS_SOURCES})

# The suite that is configured anyway; mbedTLS's list of all that there are takes 1 KiB.
target_compile_definitions(wasmbed_mbedtls PRIVATE MBEDTLS_SSL_CIPHERSUITES=MBEDTLS_TLS1_3_AES_128_GCM_SHA256)
# WAMR's own log says nothing here; as an empty function its calls and words go away too when all is optimised as one.
get_target_property(wasmbed_wamr_all wasmbed_wamr SOURCES)
list(FILTER wasmbed_wamr_all EXCLUDE REGEX "/bh_log\\.c$")
set_property(TARGET wasmbed_wamr PROPERTY SOURCES ${wasmbed_wamr_all} ${WASMBED_PORT_DIR}/wamr_log.c)

target_link_libraries(app PRIVATE wasmbed_mbedtls wasmbed_wamr)
# The compiler's own routines come before our libraries on Zephyr's command line: once more, behind.
target_link_libraries(wasmbed_wamr INTERFACE gcc)
target_link_libraries(wasmbed_mbedtls INTERFACE gcc)

# Optimised as one program, our own code takes 15 KiB less; without it a map file says more about who takes what. On where
# flash is scarce, which is on boards without a network.
if(NOT DEFINED WASMBED_LTO)
  set(WASMBED_LTO ${CONFIG_WASMBED_TRANSPORT_SERIAL})
endif()
if(WASMBED_LTO)
  set(CMAKE_AR ${CMAKE_C_COMPILER_AR}) # it must know the compiler's plugin
  set(CMAKE_RANLIB ${CMAKE_C_COMPILER_RANLIB})
  foreach(target app wasmbed_mbedtls wasmbed_wamr)
    target_compile_options(${target} PRIVATE -flto=auto)
  endforeach()
  zephyr_link_libraries(-flto=auto -Os)
endif()
