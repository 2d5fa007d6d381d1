# Stands in for Slicer's build tree in Testing/library/test_packaging.py, so that the extension's CMake files can be configured and
# installed without Slicer. Given to CMake as Slicer_DIR.
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/CheckExtension.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/CheckExtension.cmake")
