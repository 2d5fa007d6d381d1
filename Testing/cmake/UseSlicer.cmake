# What Slicer's macros for scripted modules do with paths, and no more:
# - a script may be named without .py; a file that is not there ends the configuration;
# - a file keeps its path relative to the folder of the CMakeLists.txt, under Slicer's folder of scripted modules of the
#   build tree, or with WITH_SUBDIR under a folder in it that is named as the source folder;
# - all of that folder is installed into Slicer's folder of scripted modules, with or without its own name likewise.
# Slicer copies while it builds, this while it configures, so that nothing has to be built.
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-0.0/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-0.0/qt-scripted-modules")
set(BUILD_TESTING ON)

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "unknown arguments: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT MODULE_NAME)
    message(FATAL_ERROR "NAME is missing")
  endif()

  set(place "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(installed "${place}/")
  if(MODULE_WITH_SUBDIR)
    get_filename_component(folder "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    set(place "${place}/${folder}")
    set(installed "${place}")
  endif()

  set(files ${MODULE_RESOURCES})
  foreach(script IN LISTS MODULE_SCRIPTS)
    if(NOT script MATCHES "\\.py$")
      string(APPEND script ".py")
    endif()
    list(APPEND files "${script}")
  endforeach()
  foreach(file IN LISTS files)
    if(IS_ABSOLUTE "${file}" OR NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "module ${MODULE_NAME}: no file '${file}' beside its CMakeLists.txt")
    endif()
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${place}/${file}" COPYONLY)
  endforeach()
  install(DIRECTORY "${installed}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}")
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(TEST "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${TEST_SCRIPT}")
    message(FATAL_ERROR "no test script '${TEST_SCRIPT}'")
  endif()
endfunction()
