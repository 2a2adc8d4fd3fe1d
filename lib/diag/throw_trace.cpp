#include "diag/throw_trace.hpp"

#include <unwind.h>

#include <utility>

namespace prong::diag {
namespace {

/// That of the innermost `ThrowTrace::call` of this thread.
thread_local ThrowTrace* current = nullptr;

} // namespace

class ThrowTrace::Recorder {
public:
    /// Records the frames inside of `frame`.
    static void record(ThrowTrace& trace, const void* exception, _Unwind_Context* frame) {
        if (trace.exception_ == exception) return; // thrown again by a handler of prong
        trace.exception_ = exception;
        trace.count_ = 0;
        Recorder recorder{trace, _Unwind_GetCFA(frame)};
        _Unwind_Backtrace(&add, &recorder);
    }

private:
    Recorder(ThrowTrace& trace, _Unwind_Word end) : trace_(trace), end_(end) {}

    static _Unwind_Reason_Code add(_Unwind_Context* frame, void* recorder) {
        auto& [trace, end] = *static_cast<Recorder*>(recorder);
        if (_Unwind_GetCFA(frame) == end || trace.count_ == trace.frames_.size())
            return _URC_END_OF_STACK;
        trace.frames_[trace.count_++] = reinterpret_cast<const void*>(_Unwind_GetIP(frame));
        return _URC_NO_REASON;
    }

    ThrowTrace& trace_;
    _Unwind_Word end_; ///< stack address of the first frame that is left out
};

/// The personality routine of `call_with_personality`. The unwinder calls it first while it
/// searches for a handler, when the stack is still complete, and again while it unwinds. Its name
/// is global, because the assembler refers to it.
extern "C" [[gnu::used, gnu::visibility("hidden")]] _Unwind_Reason_Code
prong_record_throw(int /*version*/, _Unwind_Action actions, _Unwind_Exception_Class /*language*/,
                   _Unwind_Exception* exception, _Unwind_Context* frame) {
    if ((actions & _UA_SEARCH_PHASE) != 0) ThrowTrace::Recorder::record(*current, exception, frame);
    return _URC_CONTINUE_UNWIND;
}

namespace {

/// Has no personality routine of the compiler's, because there is nothing to destroy in it.
[[gnu::noinline]] void call_with_personality(void (*function)(void*), void* argument) {
    // 0x1b: the distance to the routine, in 4 bytes (DW_EH_PE_pcrel | DW_EH_PE_sdata4).
    asm volatile(".cfi_personality 0x1b, prong_record_throw");
    function(argument);
    asm volatile(""); // no tail call, in which this frame would be gone
}

} // namespace

void ThrowTrace::call(void (*function)(void*), void* argument) {
    current = this;
    count_ = 0;
    exception_ = nullptr;
    call_with_personality(function, argument);
}

std::span<const void* const> ThrowTrace::take() noexcept {
    exception_ = nullptr;
    return {frames_.data(), std::exchange(count_, 0)};
}

} // namespace prong::diag
