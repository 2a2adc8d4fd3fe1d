#!/bin/sh
# No object of the library is constructed at run time: static objects of a program may need the
# library before. What compiled code does at start is in .text.startup, which may call nothing but
# what the headers of others bring along.
#
# usage: no_static_objects.sh LIBRARY

allowed='_ZNSt8ios_base4Init|__cxa_atexit|_ZNK?(5boost|6cereal)|sysconf'
called=$(objdump --reloc --section=.text.startup "$1" 2>/dev/null |
    awk '/file format/ { name = $1 } /R_.*(PLT|CALL)/ { print name, $3 }' |
    grep -vE "$allowed" | sort -u | c++filt)
[ -z "$called" ] && exit 0
echo "called before main:"
echo "$called"
exit 1
