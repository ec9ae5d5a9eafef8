# make install: binary, libraries, headers, pkg-config file, CMake package, the model in the box.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
if(TARGET longtake)
  install(TARGETS longtake RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS longtake_shared EXPORT longtake-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES $<TARGET_FILE:longtake_static> DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/longtake DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/longtake/models)
install(EXPORT longtake-targets NAMESPACE longtake:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/longtake)
file(WRITE ${CMAKE_BINARY_DIR}/longtake-config.cmake
  "include(\"\${CMAKE_CURRENT_LIST_DIR}/longtake-targets.cmake\")\n")
write_basic_package_version_file(${CMAKE_BINARY_DIR}/longtake-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/longtake-config.cmake ${CMAKE_BINARY_DIR}/longtake-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/longtake)
configure_file(cmake/longtake.pc.in ${CMAKE_BINARY_DIR}/longtake.pc.in @ONLY)
# The prefix is only known at install time.
install(CODE "file(READ \"${CMAKE_BINARY_DIR}/longtake.pc.in\" pc)
string(REPLACE \"\\\$PREFIX\" \"\${CMAKE_INSTALL_PREFIX}\" pc \"\${pc}\")
file(WRITE \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig/longtake.pc\" \"\${pc}\")")
