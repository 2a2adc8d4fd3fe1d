#pragma once

/// Marks what users may call: the shared library exports it, and so does a program with the static
/// library to the modules that it loads. Everything else is hidden in both.
#define PRONG_API __attribute__((visibility("default")))
