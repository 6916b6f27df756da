# mbedTLS as this port uses it. Include it after find_package(Zephyr) (or alone, for another build); it gives
#
#   wasmbed_mbedtls       static library: mbedTLS with tls_config.h. Link the application with it; whatever does sees the
#                         configuration and the include folders.
#   WASMBED_TLS_SOURCES   the port's own sources above it: pair, entropy, identity, tls. They need the core's sha256.c
#                         and include folder, which the application has anyway.
#
# MBEDTLS_ROOT_DIR: sources of mbedTLS 3.6, as a cmake or environment variable; default: where west puts them.

if(NOT MBEDTLS_ROOT_DIR)
  if(DEFINED ENV{MBEDTLS_ROOT_DIR})
    set(MBEDTLS_ROOT_DIR $ENV{MBEDTLS_ROOT_DIR})
  elseif(WASMBED_MODULES_DIR)
    set(MBEDTLS_ROOT_DIR ${WASMBED_MODULES_DIR}/crypto/mbedtls)
  elseif(DEFINED ENV{ZEPHYR_BASE})
    set(MBEDTLS_ROOT_DIR $ENV{ZEPHYR_BASE}/../modules/crypto/mbedtls)
  endif()
endif()
if(NOT EXISTS ${MBEDTLS_ROOT_DIR}/library/ssl_tls13_client.c)
  message(FATAL_ERROR "mbedTLS 3.6 is not at MBEDTLS_ROOT_DIR (${MBEDTLS_ROOT_DIR})")
endif()

# Every file that has something left in it under tls_config.h. mbedtls.sources is read by test/Makefile too.
file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/mbedtls.sources wasmbed_mbedtls_files REGEX "^[^#]")
list(TRANSFORM wasmbed_mbedtls_files PREPEND ${MBEDTLS_ROOT_DIR}/)

add_library(wasmbed_mbedtls STATIC ${wasmbed_mbedtls_files})
target_include_directories(wasmbed_mbedtls
  PUBLIC ${MBEDTLS_ROOT_DIR}/include ${CMAKE_CURRENT_LIST_DIR}
  PRIVATE ${MBEDTLS_ROOT_DIR}/library ${MBEDTLS_ROOT_DIR}/3rdparty/p256-m ${MBEDTLS_ROOT_DIR}/3rdparty/p256-m/p256-m)
target_compile_definitions(wasmbed_mbedtls PUBLIC "MBEDTLS_CONFIG_FILE=\"tls_config.h\"")
if(TARGET zephyr_interface)
  target_link_libraries(wasmbed_mbedtls PRIVATE zephyr_interface)
endif()

set(WASMBED_TLS_SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/pair.c
  ${CMAKE_CURRENT_LIST_DIR}/entropy.c
  ${CMAKE_CURRENT_LIST_DIR}/identity.c
  ${CMAKE_CURRENT_LIST_DIR}/tls.c)
