# SPDX-License-Identifier: Apache-2.0
# Writes perf_build.h when it changed: cmake -DSOURCE=.. -DOUT=.. -DBUILD_TYPE=.. -DCOMPILER=.. -P git.cmake
# The build is named after the last commit that changed more than documents, so that writing down what it measured does
# not make it another one. perf/table.py looks whether a source file has changed since.
set(code -- . ":(exclude)docs")
execute_process(COMMAND git log -1 --format=%h --abbrev=12 ${code} WORKING_DIRECTORY ${SOURCE}
	OUTPUT_VARIABLE GIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
execute_process(COMMAND git status --porcelain --untracked-files=no ${code} WORKING_DIRECTORY ${SOURCE}
	OUTPUT_VARIABLE CHANGED OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT GIT)
	set(GIT "unknown")
elseif(CHANGED)
	string(APPEND GIT "-dirty")
endif()
configure_file(${SOURCE}/perf/common/perf_build.h.in ${OUT} @ONLY)
