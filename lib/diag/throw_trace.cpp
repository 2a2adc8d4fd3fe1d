#include "diag/throw_trace.hpp"

#include <unwind.h>

#include <utility>

namespace prong::diag {
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

} // namespace prong::diag

// Calls `function(argument)` in a frame that keeps `trace` in a register and has the personality
// routine `prong_record_throw`. In assembler, because the compiler may not add anything to the
// frame: with another function inlined into it, it would need the compiler's personality routine.
extern "C" {

#if defined(__x86_64__)

#define PRONG_TRACES_THROWS 1
constexpr int trace_register = 3; // rbx in DWARF
asm(R"(
    .pushsection .text
    .globl prong_call_traced
    .hidden prong_call_traced
    .type prong_call_traced, @function
prong_call_traced:
    .cfi_startproc
    .cfi_personality 0x1b, prong_record_throw # DW_EH_PE_pcrel | DW_EH_PE_sdata4
    endbr64
    pushq %rbx
    .cfi_def_cfa_offset 16
    .cfi_offset %rbx, -16
    movq %rdx, %rbx
    callq *%rsi
    popq %rbx
    .cfi_def_cfa_offset 8
    .cfi_restore %rbx
    retq
    .cfi_endproc
    .size prong_call_traced, . - prong_call_traced
    .popsection
)");

#elif defined(__aarch64__)

#define PRONG_TRACES_THROWS 1
constexpr int trace_register = 19;
asm(R"(
    .pushsection .text
    .balign 4
    .globl prong_call_traced
    .hidden prong_call_traced
    .type prong_call_traced, %function
prong_call_traced:
    .cfi_startproc
    .cfi_personality 0x1b, prong_record_throw // DW_EH_PE_pcrel | DW_EH_PE_sdata4
    hint 34 // bti c
    stp x29, x30, [sp, -32]!
    .cfi_def_cfa_offset 32
    .cfi_offset 29, -32
    .cfi_offset 30, -24
    mov x29, sp
    str x19, [sp, 16]
    .cfi_offset 19, -16
    mov x19, x2
    blr x1
    ldr x19, [sp, 16]
    ldp x29, x30, [sp], 32
    .cfi_def_cfa_offset 0
    .cfi_restore 19
    .cfi_restore 29
    .cfi_restore 30
    ret
    .cfi_endproc
    .size prong_call_traced, . - prong_call_traced
    .popsection
)");

#endif

#ifdef PRONG_TRACES_THROWS

[[gnu::visibility("hidden")]] void prong_call_traced(void* argument, void (*function)(void*),
                                                     prong::diag::ThrowTrace* trace);

// The unwinder calls it first while it searches for a handler, when the stack is still complete,
// and again while it unwinds.
[[gnu::used, gnu::visibility("hidden")]] _Unwind_Reason_Code
prong_record_throw(int /*version*/, _Unwind_Action actions, _Unwind_Exception_Class /*language*/,
                   _Unwind_Exception* exception, _Unwind_Context* frame) {
    if ((actions & _UA_SEARCH_PHASE) != 0) {
        auto* const trace =
            reinterpret_cast<prong::diag::ThrowTrace*>(_Unwind_GetGR(frame, trace_register));
        prong::diag::ThrowTrace::Recorder::record(*trace, exception, frame);
    }
    return _URC_CONTINUE_UNWIND;
}

#endif

} // extern "C"

namespace prong::diag {

void ThrowTrace::call(void (*function)(void*), void* argument) {
    count_ = 0;
    exception_ = nullptr;
#ifdef PRONG_TRACES_THROWS
    prong_call_traced(argument, function, this);
#else
    function(argument);
#endif
}

std::span<const void* const> ThrowTrace::take() noexcept {
    exception_ = nullptr;
    return {frames_.data(), std::exchange(count_, 0)};
}

} // namespace prong::diag
