# find_package(isahotplug 0.1 REQUIRED) gives the targets
#
#   isahotplug::isahotplug   libisahotplug.so
#   isahotplug::static       libisahotplug.a
#
# of the installation that this file belongs to.

get_filename_component(_isahotplug_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

foreach(_isahotplug_libdir IN ITEMS "lib/${CMAKE_LIBRARY_ARCHITECTURE}" lib64 lib)
  set(_isahotplug_libdir "${_isahotplug_prefix}/${_isahotplug_libdir}")

  if(NOT TARGET isahotplug::isahotplug AND EXISTS "${_isahotplug_libdir}/libisahotplug.so")
    add_library(isahotplug::isahotplug SHARED IMPORTED)
    set_target_properties(isahotplug::isahotplug PROPERTIES
      IMPORTED_LOCATION "${_isahotplug_libdir}/libisahotplug.so"
      INTERFACE_INCLUDE_DIRECTORIES "${_isahotplug_prefix}/include")
  endif()

  if(NOT TARGET isahotplug::static AND EXISTS "${_isahotplug_libdir}/libisahotplug.a")
    add_library(isahotplug::static STATIC IMPORTED)
    # Since glibc 2.34 all of these are in libc.
    set_target_properties(isahotplug::static PROPERTIES
      IMPORTED_LOCATION "${_isahotplug_libdir}/libisahotplug.a"
      INTERFACE_INCLUDE_DIRECTORIES "${_isahotplug_prefix}/include"
      INTERFACE_LINK_LIBRARIES "pthread;dl;rt;m")
  endif()
endforeach()

if(NOT TARGET isahotplug::isahotplug)
  set(isahotplug_FOUND FALSE)
  set(isahotplug_NOT_FOUND_MESSAGE "there is no libisahotplug.so below ${_isahotplug_prefix}")
endif()

unset(_isahotplug_libdir)
unset(_isahotplug_prefix)
