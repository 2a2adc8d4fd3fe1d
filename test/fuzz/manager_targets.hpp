#pragma once

#include "fuzz/targets.hpp"

#include <cstddef>
#include <span>
#include <vector>

/// \file
/// What a manager and its clients send each other.

namespace prong::test {

/// A request, as the manager executes it. The last byte chooses the operation and the object, or
/// neither. No request harms another object.
void execute_request(std::span<const std::byte> input);
std::vector<Bytes> requests();

/// A reply, as a client takes it.
void take_reply(std::span<const std::byte> input);
std::vector<Bytes> replies();

/// What arrives by the connection: at a client, at a manager, and after the greeting; the last byte
/// chooses.
void take_greeting(std::span<const std::byte> input);
std::vector<Bytes> greetings();

} // namespace prong::test
