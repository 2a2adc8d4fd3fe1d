#include <prong/detail/thrown_stack.hpp>
#include <prong/error.hpp>

#include "diag/symbols.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <ranges>
#include <span>
#include <sstream>

namespace prong {
namespace {

/// Returns the address of the call for a return address, which may lie beyond the calling line. (As
/// a number: a worker may have sent any address.)
const void* call_before(const void* return_address) {
    return reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(return_address) - 1);
}

/// `innermost`: the address of an instruction, or a return address.
enum class Innermost { instruction, call };

std::string text_of(std::span<const void* const> frames, Innermost innermost) {
    std::ostringstream text;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        text << "#" << i << " ";
        Dl_info module{};
        // A module that only the worker has loaded.
        if (dladdr(frames[i], &module) == 0) {
            text << frames[i] << " in a module that this process has not loaded\n";
            continue;
        }
        const bool is_call = i != 0 || innermost == Innermost::call;
        const void* const address = is_call ? call_before(frames[i]) : frames[i];
        const std::string name = diag::function_at(address);
        text << (name.empty() ? "??" : name);
        const auto [file, line] = diag::source_line_of(address);
        if (line != 0) {
            text << " at " << file << ":" << line;
        } else {
            // As addr2line takes it.
            text << " in " << module.dli_fname << "+0x" << std::hex
                 << static_cast<const char*>(address) - static_cast<const char*>(module.dli_fbase)
                 << std::dec;
        }
        text << "\n";
    }
    return text.str();
}

/// Returns whether the frame belongs to the function of the C++ runtime that a `throw` calls.
bool is_throw(const void* frame) {
    const std::string name = diag::function_at(call_before(frame));
    // (Sanitizers put functions in front of it, whose names end so.)
    return name.ends_with("__cxa_throw") || name.ends_with("__cxa_rethrow") ||
           name.starts_with("std::rethrow_exception(");
}

std::string text_of(const detail::ThrownStack& stack) {
    const auto& frames = stack.frames();
    const auto thrower = std::ranges::find_if(frames.rbegin(), frames.rend(), is_throw).base();
    return text_of({thrower, frames.end()}, Innermost::call);
}

} // namespace

std::string WorkerDied::backtrace() const {
    return text_of(death_.frames, Innermost::instruction);
}

std::string PoisonedTask::backtrace() const {
    return text_of(deaths_.back().frames, Innermost::instruction);
}

// Defined here so that the class has its type information in one place.
detail::ThrownStack::~ThrownStack() = default;

std::string thrown_at(const std::exception& error) {
    const auto* const stack = dynamic_cast<const detail::ThrownStack*>(&error);
    return stack != nullptr ? text_of(*stack) : std::string();
}

std::string thrown_at(const std::exception_ptr& error) {
    if (error == nullptr) return {};
    try {
        std::rethrow_exception(error);
    } catch (const detail::ThrownStack& stack) {
        return text_of(stack);
    } catch (...) {
        return {};
    }
}

} // namespace prong
