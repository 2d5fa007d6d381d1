# In place of the files that describe and pack the extension: says which of the facts that Slicer's want is missing.
foreach(_fact HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if("${EXTENSION_${_fact}}" STREQUAL "")
    message(FATAL_ERROR "EXTENSION_${_fact} is not set")
  endif()
endforeach()
