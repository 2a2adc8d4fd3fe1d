// A module with a function, built with different factors: FACTOR.

extern "C" int times(int n) {
    return FACTOR * n;
}
