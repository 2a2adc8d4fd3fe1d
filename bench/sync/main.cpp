// Compares locks, conditions, barriers, queues and managers. README.md says how to read the
// figures.

#include "../harness/isolated.hpp"
#include "marks.hpp"
#include "measure.hpp"

namespace {

using namespace bench;

using MeasureOther = Figures (*)(const Workload&, double seconds);

Entry in_process(std::string name, MakeJob make, MeasureOther death, MeasureOther manager) {
    return {std::move(name), [=](const Workload& workload, int size, double seconds) {
                return isolated_figures([&]() -> Figures {
                    const MeasureOther other = workload.id == "death"     ? death
                                               : workload.id == "manager" ? manager
                                                                          : nullptr;
                    if (other != nullptr) return other(workload, seconds);
                    if (!make(workload, size)) return {};
                    return measure_rate(
                        workload, [&] { return *make(workload, size); }, seconds);
                });
            }};
}

Suite make_suite(const std::string& script) {
    return {
        .title = "Locks and queues of processes",
        .size_name = "processes",
        .workloads = sync_workloads(),
        .entries =
            {
                in_process(ours, make_prong_job, measure_prong_death, measure_prong_manager),
                in_process("pthreads", make_pthread_job, measure_pthread_death, nullptr),
                in_process("Boost.Interprocess", make_boost_job, nullptr, nullptr),
                {"CPython",
                 [&script](const Workload& workload, int size, double seconds) {
                     return run_python(
                         script, {workload.id, std::to_string(size), std::to_string(seconds)});
                 }},
            },
        .print_marks = print_sync_marks,
    };
}

} // namespace

int main(int argc, char** argv) {
    return run_suite(argc, argv, make_suite);
}
