# SPDX-License-Identifier: Apache-2.0
# Writes perf_build.h when it changed: cmake -DSOURCE=.. -DOUT=.. -DBUILD_TYPE=.. -DCOMPILER=.. -P git.cmake
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12
	OUTPUT_VARIABLE GIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT GIT)
	set(GIT "unknown")
endif()
configure_file(${SOURCE}/perf/common/perf_build.h.in ${OUT} @ONLY)
