# SPDX-License-Identifier: Apache-2.0
# The three libraries, shared and static, from the layers' object libraries; their installation, the
# CMake package and the pkg-config files.
#
# Layers call one another by internal names (swi_*). Across shared libraries these are exported
# under a version node SWARM_PRIVATE_*, which no header declares and which changes with every
# release; the public names are under SWARM_0.1. Calls inside a library stay direct.
include(CMakePackageConfigHelpers)
set(SWARM_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/swarm)

function(swarm_common lib layer needs)
	target_include_directories(${lib} INTERFACE
		$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
		$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>
		$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
	if(needs)
		target_link_libraries(${lib} PUBLIC ${needs})
	endif()
	set_target_properties(${lib} PROPERTIES OUTPUT_NAME swarm_${layer})
	if(SWARM_SANITIZE)
		target_link_options(${lib} PUBLIC -fsanitize=${SWARM_SANITIZE})
	endif()
	if(SWARM_COVERAGE)
		target_link_options(${lib} PUBLIC --coverage)
	endif()
endfunction()

# swarm_layer(store NEEDS transport LIBS PkgConfig::URING PC uring)
function(swarm_layer layer)
	cmake_parse_arguments(L "" "NEEDS;SUMMARY" "LIBS;PC;ALSO" ${ARGN})
	set(obj swarm_${layer}_obj)
	if(NOT TARGET ${obj} OR (L_NEEDS AND NOT TARGET swarm_${L_NEEDS}))
		return()
	endif()
	set(shared_need)
	set(static_need)
	if(L_NEEDS)
		set(shared_need swarm_${L_NEEDS})
		set(static_need swarm_${L_NEEDS}_static)
	endif()
	set(objects)
	foreach(o IN ITEMS ${obj} ${L_ALSO})
		set_target_properties(${o} PROPERTIES C_VISIBILITY_PRESET default)
		target_compile_options(${o} PRIVATE -fno-semantic-interposition)
		list(APPEND objects $<TARGET_OBJECTS:${o}>)
	endforeach()

	add_library(swarm_${layer} SHARED ${objects})
	add_library(swarm::${layer} ALIAS swarm_${layer})
	swarm_common(swarm_${layer} ${layer} "${shared_need}")
	target_link_libraries(swarm_${layer} PRIVATE ${L_LIBS} Threads::Threads ${CMAKE_DL_LIBS})
	set(map ${PROJECT_SOURCE_DIR}/cmake/maps/swarm_${layer}.map)
	target_link_options(swarm_${layer} PRIVATE -Wl,--version-script=${map}
		-Wl,-Bsymbolic-functions -Wl,--as-needed -Wl,-z,relro,-z,now)
	if(NOT SWARM_SANITIZE)
		target_link_options(swarm_${layer} PRIVATE -Wl,-z,defs)
	endif()
	set_target_properties(swarm_${layer} PROPERTIES EXPORT_NAME ${layer} LINKER_LANGUAGE C
		VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS ${map}
		INSTALL_RPATH "$ORIGIN")  # the libraries below it lie beside it

	add_library(swarm_${layer}_static STATIC ${objects})
	add_library(swarm::${layer}_static ALIAS swarm_${layer}_static)
	swarm_common(swarm_${layer}_static ${layer} "${static_need}")
	target_link_libraries(swarm_${layer}_static PRIVATE ${L_LIBS} Threads::Threads ${CMAKE_DL_LIBS})
	set_target_properties(swarm_${layer}_static PROPERTIES EXPORT_NAME ${layer}_static LINKER_LANGUAGE C)

	install(TARGETS swarm_${layer} EXPORT swarmTargets
		LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime
		NAMELINK_COMPONENT devel)
	install(TARGETS swarm_${layer}_static EXPORT swarmStaticTargets
		ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT devel)
	set(PC_LAYER ${layer})
	set(PC_SUMMARY ${L_SUMMARY})
	set(PC_REQUIRES)
	if(L_NEEDS)
		set(PC_REQUIRES "swarm-${L_NEEDS} = ${PROJECT_VERSION}")
	endif()
	# Plain -l names: a dependency's own static closure is its distribution's business (libfabric's
	# names libraries that Debian does not have).
	list(TRANSFORM L_PC PREPEND "-l" OUTPUT_VARIABLE PC_PRIVATE)
	list(JOIN PC_PRIVATE " " PC_PRIVATE)
	configure_file(${PROJECT_SOURCE_DIR}/cmake/in/swarm.pc.in
		${PROJECT_BINARY_DIR}/swarm-${layer}.pc @ONLY)
	install(FILES ${PROJECT_BINARY_DIR}/swarm-${layer}.pc
		DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT devel)
	set_property(GLOBAL APPEND PROPERTY SWARM_LAYERS ${layer})
endfunction()

set(transport_libs PkgConfig::XXHASH PkgConfig::SODIUM)
set(transport_pc xxhash sodium)
if(SWARM_HAVE_VERBS)
	list(APPEND transport_libs PkgConfig::VERBS)
	list(APPEND transport_pc ibverbs rdmacm)
endif()
if(SWARM_HAVE_OFI)
	list(APPEND transport_libs PkgConfig::OFI)
	list(APPEND transport_pc fabric)
endif()
swarm_layer(transport SUMMARY "Swarm: versions, errors, transports"
	LIBS ${transport_libs} PC ${transport_pc})
swarm_layer(store NEEDS transport SUMMARY "Swarm: the object store" ALSO swarm_spill_obj
	LIBS PkgConfig::URING PkgConfig::ISAL PkgConfig::XXHASH PkgConfig::JANSSON PkgConfig::SODIUM
	PC uring isal xxhash jansson sodium)
swarm_layer(sched NEEDS store SUMMARY "Swarm: tasks on a cluster"
	LIBS PkgConfig::JANSSON PkgConfig::XXHASH PC jansson xxhash)

# ---- the CMake package
get_property(SWARM_LAYERS GLOBAL PROPERTY SWARM_LAYERS)
configure_package_config_file(cmake/in/swarmConfig.cmake.in ${PROJECT_BINARY_DIR}/swarmConfig.cmake
	INSTALL_DESTINATION ${SWARM_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/swarmConfigVersion.cmake
	COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/swarmConfig.cmake ${PROJECT_BINARY_DIR}/swarmConfigVersion.cmake
	cmake/SwarmModule.cmake DESTINATION ${SWARM_CMAKE_DIR} COMPONENT devel)
install(EXPORT swarmTargets NAMESPACE swarm:: DESTINATION ${SWARM_CMAKE_DIR} COMPONENT devel)
install(EXPORT swarmStaticTargets NAMESPACE swarm:: DESTINATION ${SWARM_CMAKE_DIR} COMPONENT devel)

# ---- headers and man pages
install(DIRECTORY include/swarm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT devel
	FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/include/swarm/version.h
	DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/swarm COMPONENT devel)
foreach(section 1 3 7)
	install(DIRECTORY docs/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section} COMPONENT devel
		FILES_MATCHING PATTERN "*.${section}")
endforeach()

# ---- programs: linked with the shared libraries, found beside them wherever the tree is moved
foreach(tool swarmd swarm swarm-worker)
	if(TARGET ${tool})
		set_target_properties(${tool} PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
		install(TARGETS ${tool} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT tools)
	endif()
endforeach()
