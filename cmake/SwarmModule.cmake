# SPDX-License-Identifier: Apache-2.0
# swarm_module(NAME source.c ..): a module of tasks, NAME.so, for swarm_module_load().
# It needs the public headers only: the worker that loads it brings the library.
function(swarm_module name)
	add_library(${name} MODULE ${ARGN})
	target_link_libraries(${name} PRIVATE swarm::sched)
	set_target_properties(${name} PROPERTIES PREFIX "" SUFFIX ".so")
endfunction()
