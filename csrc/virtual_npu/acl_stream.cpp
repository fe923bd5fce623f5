// Streams, events and host functions.
#include "stream.h"

using namespace virtual_npu;

namespace {

std::mutex events_mutex;
std::map<void*, EventPointer>& events() {
  static auto* kept = new std::map<void*, EventPointer>;
  return *kept;
}

EventPointer find_event(aclrtEvent handle) {
  const std::lock_guard<std::mutex> lock(events_mutex);
  const auto found = events().find(handle);
  return found == events().end() ? nullptr : found->second;
}

#define STREAM_OR_RETURN(name, handle)       \
  Stream* const name = Stream::from(handle); \
  if (!name) return fail(ACL_ERROR_RT_STREAM_CONTEXT, std::string(__func__) + ": not a stream")
#define EVENT_OR_RETURN(name, handle)           \
  const EventPointer name = find_event(handle); \
  if (!name) return fail(ACL_ERROR_RT_PARAM_INVALID, std::string(__func__) + ": not an event")

aclError create_stream(aclrtStream* stream) {
  RETURN_IF_NULL(stream);
  Stream::from(nullptr);  // the default stream is the first
  *stream = Stream::create();
  return ACL_SUCCESS;
}

aclError create_event(aclrtEvent* handle, uint32_t flag) {
  RETURN_IF_NULL(handle);
  if (flag & ACL_EVENT_IPC) return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "events shared between processes");
  auto event = std::make_shared<Event>();
  event->external = flag & ACL_EVENT_EXTERNAL;
  const std::lock_guard<std::mutex> lock(events_mutex);
  *handle = event.get();
  events()[*handle] = std::move(event);
  return ACL_SUCCESS;
}

}  // namespace

extern "C" {

aclError aclrtCreateStream(aclrtStream* stream) {
  COUNT_CALL();
  return create_stream(stream);
}

aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t, uint32_t) {
  COUNT_CALL();
  return create_stream(stream);
}

aclError aclrtSetStreamFailureMode(aclrtStream handle, uint64_t mode) {
  COUNT_CALL();
  STREAM_OR_RETURN(stream, handle);
  // Every stream stops at its first failure; the other mode is not offered.
  return mode == ACL_STOP_ON_FAILURE ? ACL_SUCCESS
                                     : fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "going on after a failure");
}

aclError aclrtSetStreamOverflowSwitch(aclrtStream handle, uint32_t) {
  COUNT_CALL();
  STREAM_OR_RETURN(stream, handle);
  return ACL_SUCCESS;
}

aclError aclrtStreamGetId(aclrtStream handle, int32_t* id) {
  COUNT_CALL();
  RETURN_IF_NULL(id);
  STREAM_OR_RETURN(stream, handle);
  *id = stream->id;
  return ACL_SUCCESS;
}

aclError aclrtDestroyStream(aclrtStream handle) {
  COUNT_CALL();
  RETURN_IF_NULL(handle);
  STREAM_OR_RETURN(stream, handle);
  stream->close(false);
  return ACL_SUCCESS;
}

aclError aclrtDestroyStreamForce(aclrtStream handle) {
  COUNT_CALL();
  RETURN_IF_NULL(handle);
  STREAM_OR_RETURN(stream, handle);
  stream->close(true);
  return ACL_SUCCESS;
}

aclError aclrtSynchronizeStream(aclrtStream handle) {
  COUNT_CALL();
  STREAM_OR_RETURN(stream, handle);
  if (const aclError error = refuse_in_capture(__func__)) return error;
  return stream->synchronize(-1);
}

aclError aclrtSynchronizeStreamWithTimeout(aclrtStream handle, int32_t timeout_ms) {
  COUNT_CALL();
  STREAM_OR_RETURN(stream, handle);
  if (const aclError error = refuse_in_capture(__func__)) return error;
  return stream->synchronize(timeout_ms);
}

aclError aclrtStreamQuery(aclrtStream handle, aclrtStreamStatus* status) {
  COUNT_CALL();
  RETURN_IF_NULL(status);
  STREAM_OR_RETURN(stream, handle);
  *status = stream->idle() ? ACL_STREAM_STATUS_COMPLETE : ACL_STREAM_STATUS_NOT_READY;
  return ACL_SUCCESS;
}

aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag) {
  COUNT_CALL();
  return create_event(event, flag);
}

aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag) {
  COUNT_CALL();
  return create_event(event, flag);
}

aclError aclrtDestroyEvent(aclrtEvent handle) {
  COUNT_CALL();
  EVENT_OR_RETURN(event, handle);
  const std::lock_guard<std::mutex> lock(events_mutex);
  events().erase(handle);  // tasks in flight keep what they need
  return ACL_SUCCESS;
}

aclError aclrtRecordEvent(aclrtEvent handle, aclrtStream on) {
  COUNT_CALL();
  EVENT_OR_RETURN(event, handle);
  STREAM_OR_RETURN(stream, on);
  stream->record(event);
  return ACL_SUCCESS;
}

aclError aclrtResetEvent(aclrtEvent handle, aclrtStream on) {
  COUNT_CALL();
  EVENT_OR_RETURN(event, handle);
  STREAM_OR_RETURN(stream, on);
  return ACL_SUCCESS;
}

aclError aclrtStreamWaitEvent(aclrtStream on, aclrtEvent handle) {
  COUNT_CALL();
  EVENT_OR_RETURN(event, handle);
  STREAM_OR_RETURN(stream, on);
  return stream->wait(event);
}

aclError aclrtQueryEventStatus(aclrtEvent handle, aclrtEventRecordedStatus* status) {
  COUNT_CALL();
  RETURN_IF_NULL(status);
  EVENT_OR_RETURN(event, handle);
  const std::lock_guard<std::mutex> lock(event->mutex);
  *status =
      event->done >= event->issued ? ACL_EVENT_RECORDED_STATUS_COMPLETE : ACL_EVENT_RECORDED_STATUS_NOT_READY;
  return ACL_SUCCESS;
}

aclError aclrtSynchronizeEvent(aclrtEvent handle) {
  COUNT_CALL();
  EVENT_OR_RETURN(event, handle);
  if (const aclError error = refuse_in_capture(__func__)) return error;
  std::unique_lock<std::mutex> lock(event->mutex);
  event->changed.wait(lock, [&, number = event->issued] { return event->done >= number; });
  return ACL_SUCCESS;
}

aclError aclrtEventElapsedTime(float* ms, aclrtEvent from, aclrtEvent to) {
  COUNT_CALL();
  RETURN_IF_NULL(ms);
  EVENT_OR_RETURN(first, from);
  EVENT_OR_RETURN(second, to);
  std::chrono::steady_clock::time_point begin, end;
  for (const auto& [event, when] : {std::pair(first, &begin), std::pair(second, &end)}) {
    const std::lock_guard<std::mutex> lock(event->mutex);
    if (event->done == 0 || event->done < event->issued)
      return fail(ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
                  "aclrtEventElapsedTime: an event has not been reached");
    *when = event->when;
  }
  *ms = std::chrono::duration<float, std::milli>(end - begin).count();
  return ACL_SUCCESS;
}

aclError aclrtLaunchHostFunc(aclrtStream handle, aclrtHostFunc function, void* arguments) {
  COUNT_CALL();
  RETURN_IF_NULL(function);
  STREAM_OR_RETURN(stream, handle);
  stream->push(TaskKind::Work, [=] { function(arguments); });
  return ACL_SUCCESS;
}

// For tests: a held stream takes work and does none, so that what does not wait for it shows.
int virtual_npu_hold(aclrtStream handle, int held) {
  STREAM_OR_RETURN(stream, handle);
  stream->hold(held != 0);
  return ACL_SUCCESS;
}

}  // extern "C"
