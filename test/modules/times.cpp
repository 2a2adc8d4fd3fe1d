// A module with a function, built with different factors: FACTOR; and once by another name.

#ifndef FUNCTION
#define FUNCTION times
#endif

extern "C" int FUNCTION(int n) {
    return FACTOR * n;
}
