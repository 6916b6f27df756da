# Where Zephyr, its modules and WAMR are. Included before Zephyr's own package; says what is missing in one line.

if(NOT ZEPHYR_BASE)
  set(ZEPHYR_BASE $ENV{ZEPHYR_BASE})
endif()
if(NOT ZEPHYR_BASE OR NOT EXISTS ${ZEPHYR_BASE}/VERSION)
  message(FATAL_ERROR "ZEPHYR_BASE does not name a Zephyr source tree (3.4.0 is what was run)")
endif()

if(NOT WASMBED_MODULES_DIR)
  set(WASMBED_MODULES_DIR $ENV{WASMBED_MODULES_DIR})
endif()
if(NOT WASMBED_MODULES_DIR)
  get_filename_component(WASMBED_MODULES_DIR ${ZEPHYR_BASE}/../modules ABSOLUTE)
endif()

if(NOT WAMR_ROOT_DIR)
  set(WAMR_ROOT_DIR $ENV{WAMR_ROOT_DIR})
endif()
if(NOT WAMR_ROOT_DIR OR NOT EXISTS ${WAMR_ROOT_DIR}/core/iwasm)
  message(FATAL_ERROR "WAMR_ROOT_DIR does not name a WAMR source tree (2.4.3 is what was run)")
endif()

if(NOT WASMBED_MBEDTLS_DIR)
  set(WASMBED_MBEDTLS_DIR ${WASMBED_MODULES_DIR}/crypto/mbedtls)
endif()
if(NOT EXISTS ${WASMBED_MBEDTLS_DIR}/library/ssl_tls13_client.c)
  message(FATAL_ERROR "no mbedTLS 3.6 in ${WASMBED_MBEDTLS_DIR} (WASMBED_MODULES_DIR or WASMBED_MBEDTLS_DIR say where)")
endif()

if(NOT EXISTS ${WASMBED_MODULES_DIR}/hal/cmsis AND NOT EXISTS ${WASMBED_MODULES_DIR}/hal/cmsis_6)
  message(FATAL_ERROR "no CMSIS in ${WASMBED_MODULES_DIR}/hal (WASMBED_MODULES_DIR says where)")
endif()

# HALs only: mbedTLS and WAMR are built by us, with our own configuration.
set(ZEPHYR_MODULES "")
foreach(hal cmsis cmsis_6 stm32 atmel nxp nordic espressif)
  if(EXISTS ${WASMBED_MODULES_DIR}/hal/${hal}/zephyr)
    list(APPEND ZEPHYR_MODULES ${WASMBED_MODULES_DIR}/hal/${hal})
  endif()
endforeach()

# Boards that Zephyr lacks, and what some boards need.
if(EXISTS ${WASMBED_FIRMWARE_DIR}/boards/zephyr/module.yml)
  list(APPEND ZEPHYR_MODULES ${WASMBED_FIRMWARE_DIR}/boards)
endif()
