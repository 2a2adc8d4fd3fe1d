#pragma once

/// \file
/// The version of these headers, for the preprocessor.

/// Changes with incompatible versions, from 1.0 on.
#define PRONG_VERSION_MAJOR 0
/// Changes with new features; before 1.0 also with incompatible versions.
#define PRONG_VERSION_MINOR 2
/// Changes with corrections.
#define PRONG_VERSION_PATCH 0

/// 10000 * major + 100 * minor + patch: 200 is 0.2.0.
#define PRONG_VERSION                                                                              \
    (PRONG_VERSION_MAJOR * 10000 + PRONG_VERSION_MINOR * 100 + PRONG_VERSION_PATCH)
