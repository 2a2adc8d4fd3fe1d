#pragma once

#ifndef __has_feature
#define __has_feature(name) 0 // g++ before 14
#endif

namespace prong::test {

/// Whether this is built with AddressSanitizer: it needs descriptors and memory itself, so a
/// test that takes all of those away cannot run with it.
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
inline constexpr bool address_sanitizer = true;
#else
inline constexpr bool address_sanitizer = false;
#endif

/// Whether this is built with ThreadSanitizer, which starts a thread beside the first.
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
inline constexpr bool thread_sanitizer = true;
#else
inline constexpr bool thread_sanitizer = false;
#endif

} // namespace prong::test
