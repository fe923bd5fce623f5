// Streams, events and captured graphs. A stream is a thread that runs tasks in the order they came; an event
// is a number that a stream raises when it gets there.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "runtime.h"

namespace virtual_npu {

// What a failed stream drops, and what it runs all the same, so that those who wait for it wake up.
enum class TaskKind : uint8_t { Work, Signal };

struct Task {
  TaskKind kind;
  std::function<void()> run;  // throws ascend_sim::KernelError
};

class Stream;

// What a capture recorded, in the order it was issued, which is one of the orders that its events allow.
struct Graph {
  uint32_t id = 0;
  std::vector<Task> tasks;
};

struct Capture {
  // How much of each stream's recorded work comes before a point.
  using Position = std::map<Stream*, size_t>;
  std::shared_ptr<Graph> graph = std::make_shared<Graph>();
  Stream* origin = nullptr;
  std::thread::id thread;
  aclmdlRICaptureMode mode = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
  bool valid = true;
  std::map<Stream*, Position> known;  // of every stream that takes part
};

struct Event {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t issued = 0, done = 0;  // records asked for, records reached
  std::chrono::steady_clock::time_point when;
  bool external = false;
  // The capture its last record belongs to, and what that record comes after.
  std::weak_ptr<Capture> capture;
  Capture::Position position;
};
using EventPointer = std::shared_ptr<Event>;

class Stream {
 public:
  static Stream* create();
  static Stream* from(aclrtStream handle);  // the default one for null; nullptr for what is no stream
  static void for_each(const std::function<void(Stream&)>& visit);

  void push(TaskKind kind, std::function<void()> run);
  void record(const EventPointer& event);
  aclError wait(const EventPointer& event);
  // Until everything pushed has run, or for `timeout_ms` when that is not negative.
  aclError synchronize(int timeout_ms);
  bool idle();
  void hold(bool held);   // a held stream takes tasks and runs none
  void close(bool drop);  // ends the thread, after what waits or without it

  const int id;
  std::shared_ptr<Capture> capture;  // guarded by captures_mutex()

 private:
  explicit Stream(int id) : id(id), thread_([this] { work(); }) {}
  void work();
  void enqueue(Task task);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool busy_ = false, held_ = false, closing_ = false;
  aclError error_ = ACL_SUCCESS;
  std::string error_text_;
  std::thread thread_;  // last: it uses the others
};

std::recursive_mutex& captures_mutex();

// ACL_SUCCESS, or 107030 with a message where a capture forbids this thread to call what waits for the
// device.
aclError refuse_in_capture(const char* function);

}  // namespace virtual_npu
