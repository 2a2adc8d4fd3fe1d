#pragma once

namespace prong::detail {

/// Decodes a result. Declared apart from its definition, so that a header which names futures
/// does not bring the codec: include <prong/codec.hpp> where results are taken.
template <typename T>
struct Decoder;

} // namespace prong::detail
