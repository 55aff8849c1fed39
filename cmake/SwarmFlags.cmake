# SPDX-License-Identifier: Apache-2.0
# Warnings, hardening and sanitizers, carried by one interface target that every target of ours links.
add_library(swarm_flags INTERFACE)
target_compile_options(swarm_flags INTERFACE
	-Wall -Wextra -Wshadow -Wconversion -Wundef -Wformat=2 -Wvla -Wdate-time
	# clang sees the fall-throughs inside uthash's macros, which only comments announce
	$<$<C_COMPILER_ID:GNU>:-Wimplicit-fallthrough>
	$<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
	-fno-omit-frame-pointer)
if(SWARM_WERROR)
	target_compile_options(swarm_flags INTERFACE -Werror)
endif()
target_include_directories(swarm_flags INTERFACE
	${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include)
target_compile_definitions(swarm_flags INTERFACE _GNU_SOURCE)
if(SWARM_SANITIZE)
	target_compile_options(swarm_flags INTERFACE -fsanitize=${SWARM_SANITIZE} -fno-sanitize-recover=all)
	target_link_options(swarm_flags INTERFACE -fsanitize=${SWARM_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Release|RelWithDebInfo")
	target_compile_options(swarm_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-clash-protection)
	target_link_options(swarm_flags INTERFACE -Wl,-z,relro,-z,now)
endif()
if(SWARM_FUZZ)
	target_compile_options(swarm_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(SWARM_COVERAGE)
	target_compile_options(swarm_flags INTERFACE --coverage -O0)
	target_link_options(swarm_flags INTERFACE --coverage)
endif()
