#include "stream.h"

#include <algorithm>

namespace virtual_npu {
namespace {

std::mutex registry_mutex;
// Streams are never freed: threads may hold them when the process ends.
std::vector<Stream*>& registry() {
  static auto* kept = new std::vector<Stream*>;
  return *kept;
}

}  // namespace

std::recursive_mutex& captures_mutex() {
  static auto* kept = new std::recursive_mutex;
  return *kept;
}

Stream* Stream::create() {
  static int next = 0;
  const std::lock_guard<std::mutex> lock(registry_mutex);
  auto* stream = new Stream(next++);
  registry().push_back(stream);
  return stream;
}

Stream* Stream::from(aclrtStream handle) {
  static Stream* usual = create();
  if (!handle) return usual;
  const std::lock_guard<std::mutex> lock(registry_mutex);
  const auto found = std::find(registry().begin(), registry().end(), handle);
  return found == registry().end() ? nullptr : *found;
}

void Stream::for_each(const std::function<void(Stream&)>& visit) {
  std::vector<Stream*> streams;
  {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    streams = registry();
  }
  for (Stream* stream : streams) visit(*stream);
}

void Stream::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return (!tasks_.empty() && !held_) || closing_; });
    if (tasks_.empty()) break;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    if (task.kind == TaskKind::Work && error_ != ACL_SUCCESS) continue;
    busy_ = true;
    lock.unlock();
    aclError error = ACL_SUCCESS;
    std::string text;
    try {
      task.run();
    } catch (const ascend_sim::KernelError& failure) {
      error = failure.hangs ? ACL_ERROR_RT_AICORE_TIMEOUT : ACL_ERROR_RT_AICORE_EXCEPTION;
      text = failure.what();
    } catch (const std::exception& failure) {  // a host function's
      error = ACL_ERROR_RT_AICPU_EXCEPTION;
      text = failure.what();
    }
    task.run = nullptr;  // what it holds goes before anyone is told
    lock.lock();
    if (error != ACL_SUCCESS) error_ = error, error_text_ = text;
    busy_ = false;
    changed_.notify_all();
  }
}

void Stream::enqueue(Task task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  tasks_.push_back(std::move(task));
  changed_.notify_all();
}

void Stream::push(TaskKind kind, std::function<void()> run) {
  {
    const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
    if (capture) {
      capture->graph->tasks.push_back({kind, std::move(run)});
      ++capture->known[this][this];
      return;
    }
  }
  enqueue({kind, std::move(run)});
}

void Stream::record(const EventPointer& event) {
  {
    const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
    if (capture && !event->external) {
      // Inside a graph an event only orders, and the order of issue does that.
      event->capture = capture;
      event->position = capture->known[this];
      return;
    }
    event->capture.reset();
  }
  uint64_t number;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    number = ++event->issued;
  }
  push(TaskKind::Signal, [event, number] {
    const std::lock_guard<std::mutex> lock(event->mutex);
    event->done = std::max(event->done, number);
    event->when = std::chrono::steady_clock::now();
    event->changed.notify_all();
  });
}

aclError Stream::wait(const EventPointer& event) {
  {
    const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
    if (const auto other = event->capture.lock()) {
      if (capture && capture != other)
        return fail(ACL_ERROR_STREAM_CAPTURE_CONFLICT,
                    "aclrtStreamWaitEvent: the event belongs to another capture");
      capture = other;  // waiting for a capture's event takes a stream into it
      for (const auto& [stream, position] : event->position) {
        size_t& mine = capture->known[this][stream];
        mine = std::max(mine, position);
      }
      return ACL_SUCCESS;
    }
  }
  uint64_t number;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    number = event->issued;
  }
  push(TaskKind::Work, [event, number] {
    std::unique_lock<std::mutex> lock(event->mutex);
    event->changed.wait(lock, [&] { return event->done >= number; });
  });
  return ACL_SUCCESS;
}

aclError Stream::synchronize(int timeout_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto finished = [&] { return (tasks_.empty() && !busy_) || closing_; };
  if (timeout_ms < 0)
    changed_.wait(lock, finished);
  else if (!changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), finished))
    return fail(ACL_ERROR_RT_STREAM_SYNC_TIMEOUT,
                "a stream has not finished after " + std::to_string(timeout_ms) + " ms");
  return error_ == ACL_SUCCESS ? ACL_SUCCESS : fail(error_, error_text_);
}

bool Stream::idle() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return tasks_.empty() && !busy_;
}

void Stream::hold(bool held) {
  const std::lock_guard<std::mutex> lock(mutex_);
  held_ = held;
  changed_.notify_all();
}

void Stream::close(bool drop) {
  {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    registry().erase(std::remove(registry().begin(), registry().end(), this), registry().end());
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (drop) tasks_.clear();
    closing_ = true;
    held_ = false;
    changed_.notify_all();
  }
  // A kernel that hangs would keep a join waiting for ever.
  if (drop)
    thread_.detach();
  else
    thread_.join();
}

}  // namespace virtual_npu
