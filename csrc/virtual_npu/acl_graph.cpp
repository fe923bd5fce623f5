// Stream capture: recorded work is kept as it was issued, arguments included, and run again by each replay.
#include <set>

#include "stream.h"

using namespace virtual_npu;

namespace {

// Guarded by captures_mutex().
std::set<std::shared_ptr<Capture>> active;
std::map<aclmdlRI, std::shared_ptr<Graph>> graphs;
thread_local aclmdlRICaptureMode thread_mode = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;

}  // namespace

aclError virtual_npu::refuse_in_capture(const char* function) {
  if (thread_mode == ACL_MODEL_RI_CAPTURE_MODE_RELAXED) return ACL_SUCCESS;
  const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
  for (const auto& capture : active) {
    const bool forbids = capture->mode == ACL_MODEL_RI_CAPTURE_MODE_GLOBAL ||
                         (capture->mode == ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL &&
                          capture->thread == std::this_thread::get_id());
    if (!forbids) continue;
    capture->valid = false;
    return fail(ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT,
                std::string(function) + ": a stream is being captured, and this call waits for the device");
  }
  return ACL_SUCCESS;
}

extern "C" {

aclError aclmdlRICaptureBegin(aclrtStream handle, aclmdlRICaptureMode mode) {
  COUNT_CALL();
  Stream* stream = Stream::from(handle);
  if (!stream) return fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclmdlRICaptureBegin: not a stream");
  const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
  if (stream->capture)
    return fail(ACL_ERROR_RT_STREAM_CAPTURED, "aclmdlRICaptureBegin: the stream is being captured");
  static uint32_t next = 1;
  auto capture = std::make_shared<Capture>();
  capture->graph->id = next++;
  capture->origin = stream;
  capture->thread = std::this_thread::get_id();
  capture->mode = mode;
  stream->capture = capture;
  active.insert(capture);
  graphs[capture->graph.get()] = capture->graph;
  return ACL_SUCCESS;
}

aclError aclmdlRICaptureGetInfo(aclrtStream handle, aclmdlRICaptureStatus* status, aclmdlRI* model) {
  COUNT_CALL();
  RETURN_IF_NULL(status);
  Stream* stream = Stream::from(handle);
  if (!stream) return fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclmdlRICaptureGetInfo: not a stream");
  const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
  const auto& capture = stream->capture;
  *status = !capture         ? ACL_MODEL_RI_CAPTURE_STATUS_NONE
            : capture->valid ? ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE
                             : ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED;
  if (model) *model = capture ? capture->graph.get() : nullptr;
  return ACL_SUCCESS;
}

aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode* mode) {
  COUNT_CALL();
  RETURN_IF_NULL(mode);
  std::swap(*mode, thread_mode);
  return ACL_SUCCESS;
}

aclError aclmdlRICaptureEnd(aclrtStream handle, aclmdlRI* model) {
  COUNT_CALL();
  RETURN_IF_NULL(model);
  Stream* stream = Stream::from(handle);
  if (!stream) return fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclmdlRICaptureEnd: not a stream");
  const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture)
    return fail(ACL_ERROR_RT_STREAM_NOT_CAPTURED, "aclmdlRICaptureEnd: the stream is not being captured");
  if (capture->origin != stream)
    return fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED,
                "aclmdlRICaptureEnd: the capture began on another stream");
  Stream::for_each([&](Stream& each) {
    if (each.capture == capture) each.capture.reset();
  });
  active.erase(capture);
  *model = nullptr;
  const Capture::Position joined = capture->known[stream];
  for (const auto& [other, position] : capture->known)
    if (const auto own = position.find(other); own != position.end()) {
      const auto seen = joined.find(other);
      if (seen != joined.end() && seen->second >= own->second) continue;
      graphs.erase(capture->graph.get());
      return fail(ACL_ERROR_RT_STREAM_UNJOINED,
                  "aclmdlRICaptureEnd: a stream that took part was not waited for");
    }
  if (!capture->valid) {
    graphs.erase(capture->graph.get());
    return fail(ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT,
                "aclmdlRICaptureEnd: a call during the capture was not allowed");
  }
  *model = capture->graph.get();
  return ACL_SUCCESS;
}

aclError aclmdlRIGetId(aclmdlRI model, uint32_t* id) {
  COUNT_CALL();
  RETURN_IF_NULL(id);
  const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
  const auto found = graphs.find(model);
  if (found == graphs.end()) return fail(ACL_ERROR_RT_PARAM_INVALID, "aclmdlRIGetId: not a graph");
  *id = found->second->id;
  return ACL_SUCCESS;
}

aclError aclmdlRIExecuteAsync(aclmdlRI model, aclrtStream handle) {
  COUNT_CALL();
  Stream* stream = Stream::from(handle);
  if (!stream) return fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclmdlRIExecuteAsync: not a stream");
  std::shared_ptr<Graph> graph;
  {
    const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
    const auto found = graphs.find(model);
    if (found == graphs.end()) return fail(ACL_ERROR_RT_PARAM_INVALID, "aclmdlRIExecuteAsync: not a graph");
    if (stream->capture)
      return fail(ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT,
                  "aclmdlRIExecuteAsync: the stream is being captured");
    graph = found->second;
  }
  for (const Task& task : graph->tasks) stream->push(task.kind, task.run);
  return ACL_SUCCESS;
}

aclError aclmdlRIDestroy(aclmdlRI model) {
  COUNT_CALL();
  const std::lock_guard<std::recursive_mutex> lock(captures_mutex());
  return graphs.erase(model) ? ACL_SUCCESS : fail(ACL_ERROR_RT_PARAM_INVALID, "aclmdlRIDestroy: not a graph");
}

}  // extern "C"
