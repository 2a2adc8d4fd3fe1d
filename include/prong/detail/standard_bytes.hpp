#pragma once

#include <prong/detail/standard_type.hpp>

#include <chrono>
#include <compare>
#include <filesystem>
#include <random>

/// \file
/// Which classes of the standard library, whose inside cannot be seen, hold nothing but numbers.

namespace prong::detail {

template <class T>
inline constexpr bool is_standard_bytes = false;

// clang-format off
template <> inline constexpr bool is_standard_bytes<std::partial_ordering> = true;
template <> inline constexpr bool is_standard_bytes<std::weak_ordering> = true;
template <> inline constexpr bool is_standard_bytes<std::strong_ordering> = true;
template <> inline constexpr bool is_standard_bytes<std::filesystem::file_status> = true;

template <> inline constexpr bool is_standard_bytes<std::chrono::day> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::month> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::year> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::weekday> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::weekday_indexed> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::weekday_last> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::month_day> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::month_day_last> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::month_weekday> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::month_weekday_last> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::year_month> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::year_month_day> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::year_month_day_last> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::year_month_weekday> = true;
template <> inline constexpr bool is_standard_bytes<std::chrono::year_month_weekday_last> = true;
template <class D> inline constexpr bool is_standard_bytes<std::chrono::hh_mm_ss<D>> = true;

// Engines and distributions, those that hold vectors excepted.
template <class T, T A, T C, T M>
inline constexpr bool is_standard_bytes<std::linear_congruential_engine<T, A, C, M>> = true;
template <class T, std::size_t W, std::size_t N, std::size_t M, std::size_t R, T A, std::size_t U, T D, std::size_t S, T B, std::size_t J, T C, std::size_t L, T F>
inline constexpr bool is_standard_bytes<std::mersenne_twister_engine<T, W, N, M, R, A, U, D, S, B, J, C, L, F>> = true;
template <class T, std::size_t W, std::size_t S, std::size_t R>
inline constexpr bool is_standard_bytes<std::subtract_with_carry_engine<T, W, S, R>> = true;
template <class E, std::size_t P, std::size_t R>
inline constexpr bool is_standard_bytes<std::discard_block_engine<E, P, R>> = is_standard_bytes<E>;
template <class E, std::size_t W, class T>
inline constexpr bool is_standard_bytes<std::independent_bits_engine<E, W, T>> = is_standard_bytes<E>;
template <class E, std::size_t K>
inline constexpr bool is_standard_bytes<std::shuffle_order_engine<E, K>> = is_standard_bytes<E>;
template <> inline constexpr bool is_standard_bytes<std::bernoulli_distribution> = true;
template <class T> inline constexpr bool is_standard_bytes<std::uniform_int_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::uniform_real_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::binomial_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::geometric_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::negative_binomial_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::poisson_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::exponential_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::gamma_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::weibull_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::extreme_value_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::normal_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::lognormal_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::chi_squared_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::cauchy_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::fisher_f_distribution<T>> = true;
template <class T> inline constexpr bool is_standard_bytes<std::student_t_distribution<T>> = true;
// clang-format on

} // namespace prong::detail
