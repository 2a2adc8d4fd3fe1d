#pragma once

#include <optional>
#include <string>
#include <string_view>

/// Message authentication codes, computed by the library nettle.
namespace prong::ipc {

/// Throws `Error` if prong was built without nettle.
void require_hmac();

/// Returns the code of `message`; nothing if `digest` is not the name of a digest that CPython's
/// handshake allows (md5, sha256, sha384, sha3_256, sha3_384).
std::optional<std::string> hmac(std::string_view digest, std::string_view key,
                                std::string_view message);

/// Compares in a time that does not depend on where the codes differ.
bool equal_codes(std::string_view a, std::string_view b);

} // namespace prong::ipc
