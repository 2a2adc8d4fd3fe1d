#pragma once

#include "faults/plan.hpp"

#include <exception>
#include <string>
#include <string_view>

namespace prong::test {

/// Judges, inside of the program under test, what its calls give. What it finds fault with goes to
/// the board.
class Judge {
public:
    explicit Judge(Demand demand) : demand_(demand) {}

    /// Runs one step; true if it went through. Throwing is a violation unless the demand allows it
    /// and the error is one that says what happened.
    template <typename Step>
    bool attempt(std::string_view name, Step step) {
        try {
            step();
            return true;
        } catch (...) {
            judge_error(name);
            return false;
        }
    }

    /// A step that must throw an `E` of which `is_right`.
    template <typename E, typename Step, typename Predicate>
    void attempt_error(std::string_view name, Step step, Predicate is_right) {
        try {
            step();
            violation(name, "threw nothing");
        } catch (const E& error) {
            if (!is_right(error)) judge_error(name);
        } catch (...) {
            judge_error(name);
        }
    }

    void require(std::string_view name, bool good) {
        if (!good) violation(name, "wrong result");
    }

    [[nodiscard]] Demand demand() const { return demand_; }

    static void violation(std::string_view name, std::string_view text);

private:
    void judge_error(std::string_view name) const;

    Demand demand_;
};

} // namespace prong::test
