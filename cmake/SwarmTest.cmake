# SPDX-License-Identifier: Apache-2.0
# swarm_test(NAME name SOURCES a.c [LIBS lib..] [LABELS unit] [TIMEOUT 120] [ARGS ..])
# One program, one ctest. Exit 77 = skipped with a reason on its last line.
function(swarm_test)
	cmake_parse_arguments(T "" "NAME;TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
	if(NOT T_TIMEOUT)
		set(T_TIMEOUT 120)
	endif()
	add_executable(test_${T_NAME} ${T_SOURCES})
	target_link_libraries(test_${T_NAME} PRIVATE swarm_flags ${T_LIBS} PkgConfig::CMOCKA Threads::Threads)
	add_test(NAME ${T_NAME} COMMAND test_${T_NAME} ${T_ARGS})
	set_tests_properties(${T_NAME} PROPERTIES TIMEOUT ${T_TIMEOUT} SKIP_RETURN_CODE 77 LABELS "${T_LABELS}")
endfunction()
