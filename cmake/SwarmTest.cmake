# SPDX-License-Identifier: Apache-2.0
# The one factor by which everything may take longer in a build with a sanitizer: it scales the
# limits of ctest here, and as TEST_PATIENCE those inside the tests (tests/patience.h).
set(SWARM_PATIENCE 1)
if(SWARM_SANITIZE MATCHES "thread")
	set(SWARM_PATIENCE 8)
elseif(SWARM_SANITIZE)
	set(SWARM_PATIENCE 3)
endif()
function(swarm_limit test seconds)
	math(EXPR limit "${seconds} * ${SWARM_PATIENCE}")
	set_tests_properties(${test} PROPERTIES TIMEOUT ${limit})
endfunction()

# A test's command begins with it: a report of any of its processes makes the test fail.
set(SWARM_RUN)
if(SWARM_SANITIZE)
	set(SWARM_RUN ${PROJECT_SOURCE_DIR}/tests/sanitized)
endif()

# swarm_test(NAME name SOURCES a.c [LIBS lib..] [LABELS unit] [TIMEOUT 120] [ARGS ..])
# One program, one ctest. Exit 77 = skipped with a reason on its last line.
function(swarm_test)
	cmake_parse_arguments(T "" "NAME;TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
	if(NOT T_TIMEOUT)
		set(T_TIMEOUT 120)
	endif()
	add_executable(test_${T_NAME} ${T_SOURCES})
	target_link_libraries(test_${T_NAME} PRIVATE swarm_flags ${T_LIBS} PkgConfig::CMOCKA Threads::Threads)
	add_test(NAME ${T_NAME} COMMAND ${SWARM_RUN} $<TARGET_FILE:test_${T_NAME}> ${T_ARGS})
	set_tests_properties(${T_NAME} PROPERTIES SKIP_RETURN_CODE 77 LABELS "${T_LABELS}")
	swarm_limit(${T_NAME} ${T_TIMEOUT})
endfunction()
