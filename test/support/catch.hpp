#pragma once

// Assertions compile faster so; what they throw unexpectedly ends the test case.
#define CATCH_CONFIG_FAST_COMPILE

// Catch2 2.13 has one header, Catch2 3 has others: whichever the machine has.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
