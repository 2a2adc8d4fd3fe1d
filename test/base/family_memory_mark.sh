#!/bin/sh
# The library must not define the function whose presence in a program says that it uses the memory
# of the family (lib/shm/family_memory.cpp): else every program would map it.
#
# usage: family_memory_mark.sh SHARED_LIBRARY

mark=$(nm --dynamic "$1" | grep ' prong_uses_family_memory$')
echo "$mark"
[ "$mark" = '                 w prong_uses_family_memory' ]
