// The C library's primitives, made for processes: its mutex is robust, its condition and its
// barrier are not.

#include "measure.hpp"

#include <pthread.h>

#include <cerrno>

namespace bench {
namespace {

struct PthreadMutex {
    pthread_mutex_t* mutex;

    void lock() const {
        if (pthread_mutex_lock(mutex) == EOWNERDEAD) pthread_mutex_consistent(mutex);
    }
    void unlock() const { pthread_mutex_unlock(mutex); }
};

struct PthreadCondition {
    pthread_cond_t* condition;
    pthread_mutex_t* mutex;

    void wait() const { pthread_cond_wait(condition, mutex); }
    void notify_one() const { pthread_cond_signal(condition); }
};

struct PthreadBarrier {
    pthread_barrier_t* barrier;

    void wait() const { pthread_barrier_wait(barrier); }
};

PthreadMutex make_mutex() {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    auto& mutex = make_shared_object<pthread_mutex_t>();
    pthread_mutex_init(&mutex, &attributes);
    return {&mutex};
}

PthreadCondition make_condition(PthreadMutex mutex) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    auto& condition = make_shared_object<pthread_cond_t>();
    pthread_cond_init(&condition, &attributes);
    return {&condition, mutex.mutex};
}

PthreadBarrier make_barrier(int parties) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    auto& barrier = make_shared_object<pthread_barrier_t>();
    pthread_barrier_init(&barrier, &attributes, static_cast<unsigned>(parties));
    return {&barrier};
}

} // namespace

std::optional<Job> make_pthread_job(const Workload& workload, int size) {
    if (workload.id == "lock") return lock_job(make_mutex(), size);
    if (workload.id == "condition") {
        const PthreadMutex mutex = make_mutex();
        return condition_job(mutex, make_condition(mutex));
    }
    if (workload.id == "barrier") return barrier_job(make_barrier(size), size);
    return std::nullopt;
}

Figures measure_pthread_death(const Workload& workload, double seconds) {
    const PthreadMutex mutex = make_mutex();
    return measure_death(
        workload, seconds, [&] { mutex.lock(); }, [&] { mutex.unlock(); });
}

} // namespace bench
