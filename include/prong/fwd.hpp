#pragma once

/// \file
/// Declares prong's main types without defining them; errors are in `<prong/error.hpp>`.

namespace prong {

class AnyFuture;
class Connection;
class Inherit;
class Listener;
class Manager;
class Process;
class ProcessInfo;
class ProcessPoolExecutor;
class Pool;
class PoolWithOptions;
class Timeout;
class Waitable;
class WorkerHook;

struct callbacks;
struct Death;
struct MapOptions;
struct PoolOptions;
struct PoolStats;
struct ShutdownReport;
struct TaskLimits;
struct TaskOptions;
struct WaitResult;
struct WorkerStats;

template <typename R>
class AsyncResult;
template <typename R>
class Future;
template <typename R>
class MapResult;
template <typename R>
class ResultView;

template <typename T>
class SharedBuffer;
template <typename T>
class SharedView;

enum class LimitKind;
enum class OnWorkerDeath : unsigned char;
enum class Priority : unsigned char;
enum class ReturnWhen;
enum class WorkerState : unsigned char;

} // namespace prong
