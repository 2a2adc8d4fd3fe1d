#include "faults/judge.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <system_error>

namespace prong::test {
namespace {

bool is_about_pipe(const Plan& plan) {
    return plan.role == Role::child || plan.call == Call::sendmsg;
}

/// Whether the current exception is one that a user can make something of.
bool is_clear() {
    const Plan& plan = board().plan;
    try {
        throw;
    } catch (const std::system_error& error) {
        const std::string_view text = error.what();
        // After an error in the middle of a message, or in the child, the pipe is broken.
        if (error.code().value() == EPIPE) return is_about_pipe(plan);
        const int expected = plan.error == torn ? ENOBUFS : plan.error;
        return error.code().value() == expected && text.starts_with(name_of(plan.call));
    } catch (const BrokenProcessPool& error) {
        return std::string_view(error.what()).starts_with("the process pool is broken: ");
    } catch (const EndOfFile&) {
        return is_about_pipe(plan);
    } catch (const ManagerDied&) {
        return plan.role == Role::child;
    } catch (const LimitExceeded&) {
        return true;
    } catch (const std::bad_alloc&) {
        return true;
    } catch (const Error& error) { // of a manager that cannot start, or take clients in
        const std::string_view text = error.what();
        return plan.role == Role::child && (text.starts_with("prong::Manager: ") ||
                                            text.find("lets no further client in") != text.npos);
    } catch (...) {
        return false;
    }
}

std::string text_of_current_exception() {
    try {
        throw;
    } catch (const std::exception& error) {
        return error.what();
    } catch (...) {
        return "something that is no std::exception";
    }
}

} // namespace

void Judge::judge_error(std::string_view name) const {
    if (demand_ == Demand::may_fail && is_clear()) return;
    violation(name, "threw: " + text_of_current_exception());
}

void Judge::violation(std::string_view name, std::string_view text) {
    const std::string line = "  " + std::string(name) + ": " + std::string(text) + "\n";
    Board& board = test::board();
    const unsigned begin = board.violation_length.fetch_add(static_cast<unsigned>(line.size()));
    if (begin >= board.violations.size()) return;
    const auto size = std::min(line.size(), board.violations.size() - begin);
    std::memcpy(board.violations.data() + begin, line.data(), size);
}

} // namespace prong::test
